//! Asks each server once, and says what it found or what is wrong.

use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sonorancad_exporter::client::{Client, ClientError};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::{Directory, Failure, Report, ServerReport};
use sonorancad_exporter::config::{CommunityConfig, Config, Problems};
use sonorancad_exporter::snapshot::{EmergencyKind, Priority, Snapshot, Status, Unreadable};
use sonorancad_exporter::web::Web;
use tokio::time::sleep;

/// How often it is looked whether the budget lets the next server be asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// How the findings are written.
#[derive(Clone, Copy, Args)]
pub(super) struct Options {
    /// Write JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// Whether everything is well.
    ok: bool,
    /// What is wrong with the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// What is allowed but may surprise.
    warnings: Vec<String>,
    servers: Vec<ServerFindings>,
}

/// What was found of one server.
#[derive(Debug, Serialize)]
struct ServerFindings {
    /// The alias, where it is a community of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    community: Option<String>,
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ok: bool,
    /// The time that the API took, in seconds; none if it was not asked.
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
    /// Those in the list of active calls; every combination.
    active: Vec<ActiveCalls>,
    emergency: u64,
    civil: u64,
    unassigned: u64,
    attached_units: u64,
    /// Closed calls that the CAD keeps, if the API says it.
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

/// Checks the configuration, and the API with it.
pub(super) async fn check(config: Result<Config, Problems>) -> Findings {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return Findings::of_problems(problems.iter().map(ToString::to_string).collect()),
    };
    if let Err(error) = Web::new(config.web_config_file.as_deref()) {
        return Findings::of_problems(vec![error.to_string()]);
    }
    let outcome: Result<_, ClientError> = async {
        let client = Client::new(config.needs_certificates())?;
        let reports = ask(&config).await?;
        let warnings = compare_servers(&config, &reports, &client).await;
        Ok((reports, warnings))
    }
    .await;
    match outcome {
        Ok((reports, warnings)) => Findings::of_reports(&config, &reports, warnings),
        Err(error) => Findings::of_problems(vec![super::with_sources(&error)]),
    }
}

/// Warns of servers that a community does not have: version v1 may answer for them with empty lists.
async fn compare_servers(config: &Config, reports: &[(Option<String>, Report)], client: &Client) -> Vec<String> {
    let mut warnings = Vec::new();
    for ((alias, community), (_, report)) in config.all_communities().zip(reports) {
        // Where nothing is well, there is enough to say.
        if !report.servers.iter().any(|server| server.is_up) {
            continue;
        }
        let place = place(alias);
        match client.fetch_server_ids(&community.api).await {
            Ok(ids) => {
                let known: Vec<_> = ids.iter().map(ToString::to_string).collect();
                let unknown = community.servers.iter().filter(|server| !ids.contains(&server.id));
                warnings.extend(unknown.map(|server| {
                    format!(
                        "{place}the community has no server {}; its servers are {}",
                        server.id,
                        known.join(", ")
                    )
                }));
            }
            Err(error) => warnings.push(format!("{place}whether the servers exist could not be seen: {error}")),
        }
    }
    warnings
}

/// What stands before a warning of a community of the file.
fn place(alias: Option<&str>) -> String {
    alias.map_or(String::new(), |alias| format!("{alias}: "))
}

/// Asks each server once, as fast as the budgets allow; none with a key that the API has refused.
async fn ask(config: &Config) -> Result<Vec<(Option<String>, Report)>, ClientError> {
    let communities = Directory::new(&asking_once(config), &Clock::System)?;
    let timeouts = config.all_communities().map(|(_, community)| community.api.timeout);
    let patience = timeouts.max().unwrap_or_default() + INTERVAL;
    let mut is_told = false;
    loop {
        communities.scrape_all(patience).await;
        let own = config.community.iter().map(|_| (None, communities.report()));
        let others = communities.reports().into_iter();
        let reports: Vec<_> = own.chain(others.map(|(alias, report)| (Some(alias), report))).collect();
        let is_open = |server: &ServerReport| !is_asked(server) && server.retry_at.is_none();
        if !reports.iter().flat_map(|(_, report)| &report.servers).any(is_open) {
            return Ok(reports);
        }
        if !is_told {
            eprintln!("waiting, since the budget of requests per minute is used up");
            is_told = true;
        }
        sleep(INTERVAL).await;
    }
}

/// The same communities with a long TTL, so that nothing is asked twice.
fn asking_once(config: &Config) -> Config {
    let cache_ttl = Duration::from_secs(3600);
    let slow = |community: &CommunityConfig| CommunityConfig {
        cache_ttl,
        ..community.clone()
    };
    let by_alias = config.communities.iter();
    Config {
        community: config.community.as_ref().map(slow),
        communities: by_alias
            .map(|(alias, community)| (alias.clone(), slow(community)))
            .collect(),
        ..config.clone()
    }
}

/// The warnings of all communities.
fn warnings(config: &Config) -> Vec<String> {
    let warnings = config.all_communities().flat_map(|(alias, community)| {
        let place = place(alias);
        let own = community.warnings().into_iter();
        own.map(move |warning| format!("{place}{warning}"))
    });
    warnings.collect()
}

/// Whether a request for this server has ended.
fn is_asked(server: &ServerReport) -> bool {
    server.failure.is_some() || server.last_success.is_some()
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

    fn of_reports(config: &Config, reports: &[(Option<String>, Report)], more_warnings: Vec<String>) -> Self {
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
            ok: server.is_up,
            answer_seconds: is_asked(server).then(|| server.counts.request_seconds.sum().as_secs_f64()),
            calls: server.snapshot.as_deref().map(Calls::of),
            failure: server.failure.as_ref().map(FailureFindings::of),
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
                ": not asked, since the API wants no more requests with this key now."
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
    fn of(snapshot: &Snapshot) -> Self {
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
            unreadable: Unreadable::ALL.iter().map(|what| snapshot.unreadable(*what)).sum(),
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
