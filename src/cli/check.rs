//! Asks each server once and reports what it found or what is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sonorancad_exporter::client::ClientError;
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
    /// Where to begin, if nothing is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
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

/// What is wrong with the servers that a community does not have, by its alias and their ids.
type UnknownServers = BTreeMap<(Option<String>, String), String>;

/// Checks the configuration, and asks the API with it.
pub(super) async fn check(config: Result<Config, Problems>) -> Findings {
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            let list = problems.iter().map(ToString::to_string);
            return Findings::of_problems(list.collect()).with_hint(problems.hint());
        }
    };
    let web_warnings = match Toolkit::new(config.web_config_file.as_deref()) {
        Ok(toolkit) => toolkit.warnings(),
        Err(error) => return Findings::of_problems(vec![error.to_string()]),
    };
    let outcome: Result<_, ClientError> = async {
        let communities = Communities::new(&config, &Clock::system())?;
        let reports = ask(&config, &communities).await;
        let (unknown, warnings) = find_unknown_servers(&config, &reports, &communities).await;
        Ok((reports, unknown, warnings))
    }
    .await;
    match outcome {
        Ok((reports, unknown, warnings)) => {
            let of_config = super::warnings(&config).into_iter();
            let of_config = of_config.map(|(aliases, text)| format!("{}{text}", prefix(&aliases)));
            let warnings = of_config.chain(web_warnings).chain(warnings);
            Findings::of_reports(&reports, &unknown, warnings.collect())
        }
        Err(error) => Findings::of_problems(vec![super::with_sources(&error)]),
    }
}

/// Compares the configured servers with those that each community has, and returns those that it does not have.
///
/// API version v1 may answer for these with empty lists, and gateways before v2 with any status.
async fn find_unknown_servers(
    config: &Config,
    reports: &[(Option<String>, CommunityReport)],
    communities: &Communities,
) -> (UnknownServers, Vec<String>) {
    let mut unknown = UnknownServers::new();
    let mut warnings = Vec::new();
    for ((alias, community), (_, report)) in config.all_communities().zip(reports) {
        if !report.servers.iter().any(may_be_unknown) {
            continue;
        }
        let prefix = prefix(alias.unwrap_or_default());
        match communities.fetch_servers(alias).await {
            Ok(known) if known.is_empty() => warnings.push(format!("{prefix}the API lists no server of the community")),
            Ok(known) => {
                let known_ids: Vec<_> = known
                    .iter()
                    .map(|(id, name)| {
                        let is_configured = community.servers.iter().any(|server| server.id == *id);
                        describe_server(*id, name.as_deref(), is_configured)
                    })
                    .collect();
                let servers = community
                    .servers
                    .iter()
                    .filter(|server| !known.contains_key(&server.id));
                let reason = format!("the servers of the community are {}", known_ids.join(", "));
                unknown.extend(servers.map(|server| {
                    let place = (alias.map(str::to_owned), server.id.to_string());
                    (place, format!("there is no server {}; {reason}", server.id))
                }));
            }
            Err(error) => warnings.push(format!("{prefix}cannot check whether the servers exist: {error}")),
        }
    }
    (unknown, warnings)
}

/// Whether the answer for this server leaves open whether it exists. Other failures are enough to report.
fn may_be_unknown(server: &ServerReport) -> bool {
    match &server.calls.failure {
        None => server.calls.is_up,
        Some(failure) => ["UNKNOWN SERVER", "HTTP 4XX"].contains(&&*failure.label),
    }
}

/// A server for a list: `2 (Events, not configured)`.
fn describe_server(id: u32, name: Option<&str>, is_configured: bool) -> String {
    let remark = (!is_configured).then_some("not configured");
    let details: Vec<_> = name.into_iter().chain(remark).collect();
    if details.is_empty() {
        id.to_string()
    } else {
        format!("{id} ({})", details.join(", "))
    }
}

/// The start of a warning: the aliases of communities of the file, if there are any.
fn prefix(aliases: &str) -> String {
    if aliases.is_empty() {
        String::new()
    } else {
        format!("{aliases}: ")
    }
}

/// Asks each server once, as fast as the budgets allow. A key that the API has refused is not used again.
async fn ask(config: &Config, communities: &Communities) -> Vec<(Option<String>, CommunityReport)> {
    let timeouts = config.all_communities().map(|(_, community)| community.api.timeout);
    let deadline = timeouts.max().unwrap_or_default() + INTERVAL;
    let mut is_announced = false;
    loop {
        communities.ask_once(deadline).await;
        let own = config.community.iter().map(|_| (None, communities.report()));
        let others = communities.reports().into_iter();
        let reports: Vec<_> = own.chain(others.map(|(alias, report)| (Some(alias), report))).collect();
        // A server that was not asked although nothing is paused waits for the budget.
        let is_open = |server: &ServerReport| !server.calls.is_asked() && server.calls.retry_at.is_none();
        if !reports.iter().flat_map(|(_, report)| &report.servers).any(is_open) {
            return reports;
        }
        if !is_announced {
            super::say("waiting: the budget of requests per minute is used up");
            is_announced = true;
        }
        sleep(INTERVAL).await;
    }
}

impl Findings {
    pub(super) fn is_ok(&self) -> bool {
        self.ok
    }

    fn of_problems(problems: Vec<String>) -> Self {
        Self {
            ok: false,
            problems,
            hint: None,
            warnings: Vec::new(),
            servers: Vec::new(),
        }
    }

    fn with_hint(self, hint: Option<&'static str>) -> Self {
        Self { hint, ..self }
    }

    fn of_reports(
        reports: &[(Option<String>, CommunityReport)],
        unknown: &UnknownServers,
        warnings: Vec<String>,
    ) -> Self {
        let servers = reports.iter().flat_map(|(alias, report)| {
            report.servers.iter().map(|server| {
                let findings = ServerFindings::of(alias.as_deref(), server);
                match unknown.get(&(alias.clone(), server.id.clone())) {
                    Some(reason) => findings.of_unknown(reason),
                    None => findings,
                }
            })
        });
        let servers: Vec<_> = servers.collect();
        Self {
            ok: servers.iter().all(|server| server.ok),
            problems: Vec::new(),
            hint: None,
            warnings,
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
        let failed = self.servers.iter().filter(|server| !server.ok).count();
        match (self.problems.len(), failed, self.servers.len()) {
            (0, 0, _) => writeln!(f, "The configuration is valid, and the API answers for every server.")?,
            (0, 1, 1) => writeln!(f, "The server cannot be read.")?,
            (0, failed, count) => writeln!(f, "{failed} of {count} servers cannot be read.")?,
            (1, ..) => writeln!(f, "There is a problem:")?,
            (count, ..) => writeln!(f, "There are {count} problems:")?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        if let Some(hint) = self.hint {
            writeln!(f, "\n{hint}")?;
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

    /// The same of a server that does not exist. What the API answered for it means nothing.
    fn of_unknown(self, reason: &str) -> Self {
        Self {
            ok: false,
            calls: None,
            failure: Some(FailureFindings {
                error: "UNKNOWN SERVER".to_owned(),
                reason: reason.to_owned(),
                advice: "set SONORANCAD_SERVER_IDS (server_ids in the communities file) to servers that exist"
                    .to_owned(),
            }),
            ..self
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
