//! Asks each server once and reports what it found or what is wrong.

use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sonorancad_exporter::client::{Calls as CallsEndpoint, ClientError, Endpoint as _};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{Config, Problems};
use sonorancad_exporter::report::{CommunityReport, Failure, ServerReport};
use sonorancad_exporter::snapshot::{CallSnapshot, EmergencyKind, Priority, Status, UnreadableField};
use sonorancad_exporter::toolkit::Toolkit;
use tokio::time::sleep;

/// How often to check whether the budget allows the next request.
const INTERVAL: Duration = Duration::from_secs(1);

/// How to write the findings.
#[derive(Clone, Copy, Args)]
pub(super) struct Options {
    /// Write JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// Whether nothing is wrong.
    ok: bool,
    /// What is wrong with the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// What is allowed but may surprise.
    warnings: Vec<String>,
    servers: Vec<ServerFindings>,
}

/// The findings for one server.
#[derive(Debug, Serialize)]
struct ServerFindings {
    /// The alias, if it is a community of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    community: Option<String>,
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ok: bool,
    /// The API's response time in seconds; `None` if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Calls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureFindings>,
}

#[derive(Debug, Serialize)]
struct FailureFindings {
    error: String,
    reason: String,
    advice: String,
}

/// The calls of one server, counted.
#[derive(Debug, Serialize)]
struct Calls {
    /// The list of active calls; every combination.
    active: Vec<ActiveCalls>,
    emergency: u64,
    civil: u64,
    unassigned: u64,
    attached_units: u64,
    /// Closed calls that the CAD keeps, if the API reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_stored: Option<u64>,
    /// Values that could not be read.
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct ActiveCalls {
    priority: &'static str,
    status: &'static str,
    count: u64,
}

/// Checks the configuration, and asks the API with it.
pub(super) async fn check(config: Result<Config, Problems>) -> Findings {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return Findings::of_problems(problems.iter().map(ToString::to_string).collect()),
    };
    let web_warnings = match Toolkit::new(config.web_config_file.as_deref()) {
        Ok(toolkit) => toolkit.warnings(),
        Err(error) => return Findings::of_problems(vec![error.to_string()]),
    };
    let outcome: Result<_, ClientError> = async {
        let communities = Communities::new(&config, &Clock::System)?;
        let reports = ask(&config, &communities).await;
        let warnings = compare_servers(&config, &reports, &communities).await;
        Ok((reports, [web_warnings, warnings].concat()))
    }
    .await;
    match outcome {
        Ok((reports, warnings)) => Findings::of_reports(&config, &reports, warnings),
        Err(error) => Findings::of_problems(vec![super::with_sources(&error)]),
    }
}

/// Warns of servers that a community does not have: API version v1 may answer with empty lists for them.
async fn compare_servers(
    config: &Config,
    reports: &[(Option<String>, CommunityReport)],
    communities: &Communities,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for ((alias, community), (_, report)) in config.all_communities().zip(reports) {
        // If every server fails, that is enough to report.
        if !report.servers.iter().any(|server| server.calls.is_up) {
            continue;
        }
        let prefix = prefix(alias);
        match communities.fetch_server_ids(alias).await {
            Ok(ids) => {
                let known: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let unknown = community.servers.iter().filter(|server| !ids.contains(&server.id));
                warnings.extend(unknown.map(|server| {
                    format!(
                        "{prefix}the community has no server {}; its servers are {}",
                        server.id,
                        known.join(", ")
                    )
                }));
            }
            Err(error) => warnings.push(format!("{prefix}cannot check whether the servers exist: {error}")),
        }
    }
    warnings
}

/// The start of a warning: the alias of a community of the file.
fn prefix(alias: Option<&str>) -> String {
    alias.map_or(String::new(), |alias| format!("{alias}: "))
}

/// Asks each server once, as fast as the budgets allow, but none with a key that the API has refused.
async fn ask(config: &Config, communities: &Communities) -> Vec<(Option<String>, CommunityReport)> {
    let timeouts = config.all_communities().map(|(_, community)| community.api.timeout);
    let deadline = timeouts.max().unwrap_or_default() + INTERVAL;
    let mut is_announced = false;
    loop {
        communities.ask_once(deadline).await;
        let own = config.community.iter().map(|_| (None, communities.report()));
        let others = communities.reports().into_iter();
        let reports: Vec<_> = own.chain(others.map(|(alias, report)| (Some(alias), report))).collect();
        let is_open = |server: &ServerReport| !server.calls.is_asked() && server.calls.retry_at.is_none();
        if !reports.iter().flat_map(|(_, report)| &report.servers).any(is_open) {
            return reports;
        }
        if !is_announced {
            eprintln!("waiting: the budget of requests per minute is used up");
            is_announced = true;
        }
        sleep(INTERVAL).await;
    }
}

/// The warnings of all communities.
fn warnings(config: &Config) -> Vec<String> {
    let warnings = config.all_communities().flat_map(|(alias, community)| {
        let prefix = prefix(alias);
        let plan = CallsEndpoint::plan(community);
        let own = plan.warnings(CallsEndpoint::PUBLISHED_LIMIT, community);
        own.into_iter().map(move |warning| format!("{prefix}{warning}"))
    });
    warnings.collect()
}

impl Findings {
    pub(super) fn is_ok(&self) -> bool {
        self.ok
    }

    fn of_problems(problems: Vec<String>) -> Self {
        Self {
            ok: false,
            problems,
            warnings: Vec::new(),
            servers: Vec::new(),
        }
    }

    fn of_reports(config: &Config, reports: &[(Option<String>, CommunityReport)], more_warnings: Vec<String>) -> Self {
        let servers = reports.iter().flat_map(|(alias, report)| {
            let servers = report.servers.iter();
            servers.map(|server| ServerFindings::of(alias.as_deref(), server))
        });
        let servers: Vec<_> = servers.collect();
        Self {
            ok: servers.iter().all(|server| server.ok),
            problems: Vec::new(),
            warnings: [warnings(config), more_warnings].concat(),
            servers,
        }
    }

    /// As text for people, or as one JSON object.
    pub(super) fn render(&self, options: Options) -> String {
        if options.json {
            serde_json::to_string_pretty(self).expect("texts and numbers are JSON") + "\n"
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            0 => writeln!(f, "The configuration is valid.")?,
            1 => writeln!(f, "There is a problem:")?,
            count => writeln!(f, "There are {count} problems:")?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "Warning: {warning}.")?;
        }
        self.servers.iter().try_for_each(|server| write!(f, "\n{server}"))
    }
}

impl ServerFindings {
    fn of(community: Option<&str>, server: &ServerReport) -> Self {
        Self {
            community: community.map(str::to_owned),
            server_id: server.id.clone(),
            name: server.name.clone(),
            ok: server.calls.is_up,
            answer_seconds: server
                .calls
                .is_asked()
                .then(|| server.calls.counts.request_seconds.sum().as_secs_f64()),
            calls: server.calls.snapshot.as_deref().map(Calls::of),
            failure: server.calls.failure.as_ref().map(FailureFindings::of),
        }
    }
}

impl fmt::Display for ServerFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(community) = &self.community {
            write!(f, "Community {community}, server {}", self.server_id)?;
        } else {
            write!(f, "Server {}", self.server_id)?;
        }
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        let seconds = self.answer_seconds.unwrap_or_default();
        match (&self.calls, &self.failure) {
            (_, Some(FailureFindings { error, reason, advice })) => writeln!(
                f,
                ": {error}\n  What happened: {reason}, after {seconds:.2} s.\n  What to do: {advice}."
            ),
            (Some(calls), None) => write!(f, ": the API answered in {seconds:.2} s.\n{calls}"),
            (None, None) => writeln!(
                f,
                ": not asked, because the API accepts no more requests with this key for now."
            ),
        }
    }
}

impl FailureFindings {
    fn of(failure: &Failure) -> Self {
        Self {
            error: failure.label.to_string(),
            reason: failure.reason.clone(),
            advice: failure.advice.to_owned(),
        }
    }
}

impl Calls {
    fn of(snapshot: &CallSnapshot) -> Self {
        let active = Priority::ALL.iter().flat_map(|priority| {
            let with_status = Status::ALL.iter().map(move |status| (priority, status));
            with_status.map(|(priority, status)| ActiveCalls {
                priority: priority.label(),
                status: status.label(),
                count: snapshot.active.by_status(*priority, *status),
            })
        });
        Self {
            active: active.collect(),
            emergency: snapshot.emergency.count(EmergencyKind::Emergency),
            civil: snapshot.emergency.count(EmergencyKind::Civil),
            unassigned: Priority::ALL
                .iter()
                .map(|priority| snapshot.active.unassigned(*priority))
                .sum(),
            attached_units: snapshot.active.attached_units(),
            closed_stored: snapshot.closed_stored,
            unreadable: UnreadableField::ALL
                .iter()
                .map(|field| snapshot.unreadable(*field))
                .sum(),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  priority")?;
        for status in Status::ALL {
            write!(f, "{:>9}", status.label())?;
        }
        for of_priority in self.active.chunk_by(|one, other| one.priority == other.priority) {
            write!(f, "\n  {:8}", of_priority[0].priority)?;
            for calls in of_priority {
                write!(f, "{:9}", calls.count)?;
            }
        }
        writeln!(
            f,
            "\n  Emergency calls {}, civil calls {}, calls without a unit {}, units attached {}.",
            self.emergency, self.civil, self.unassigned, self.attached_units
        )?;
        if let Some(closed) = self.closed_stored {
            writeln!(f, "  Closed calls stored {closed}.")?;
        }
        if self.unreadable > 0 {
            writeln!(
                f,
                "  Values that could not be read, and count as \"other\": {}.",
                self.unreadable
            )?;
        }
        Ok(())
    }
}
