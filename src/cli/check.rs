//! Asks each server once and reports what it found or what is wrong.

mod findings;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use sonorancad_exporter::account::Plan;
use sonorancad_exporter::client::{Calls, Endpoint as _, Units};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::{Communities, CommunitiesError};
use sonorancad_exporter::config::{ApiEndpoint, Config, Problems};
use sonorancad_exporter::report::{CommunityReport, ServerReport};
use sonorancad_exporter::toolkit::Toolkit;
use tokio::time::sleep;

use self::findings::Findings;

/// How often to check whether the budget allows the next request.
const INTERVAL: Duration = Duration::from_secs(1);

/// How to write the findings.
#[derive(Clone, Copy, Args)]
pub(super) struct Options {
    /// Write JSON, for scripts.
    #[arg(long)]
    json: bool,
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
    let outcome: Result<_, CommunitiesError> = async {
        let communities = Communities::new(&config, &Clock::system())?;
        let reports = ask(&config, &communities).await;
        let (unknown, warnings) = find_unknown_servers(&config, &reports, &communities).await;
        let of_config = super::warnings(&config, &communities).into_iter();
        let of_config = of_config.map(|(aliases, text)| format!("{}{text}", prefix(&aliases)));
        Ok((reports, unknown, of_config.collect::<Vec<_>>(), warnings))
    }
    .await;
    match outcome {
        Ok((reports, unknown, of_config, warnings)) => {
            let warnings = of_config.into_iter().chain(web_warnings).chain(warnings);
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
    match &server.calls.status.failure {
        None => server.calls.status.is_up,
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
        let mut servers = reports.iter().flat_map(|(_, report)| &report.servers);
        // A feed that was not asked although nothing is paused waits for the budget.
        let is_open = |server: &ServerReport| {
            let mut feeds = server.feeds();
            feeds.any(|(_, feed)| !feed.is_asked() && feed.retry_at.is_none())
        };
        if !servers.any(is_open) {
            return reports;
        }
        if !is_announced {
            let minutes = minutes(config, communities);
            super::say(format_args!(
                "waiting: the budget of requests per minute is used up; with this many servers, this takes about {minutes} min"
            ));
            is_announced = true;
        }
        sleep(INTERVAL).await;
    }
}

/// How long the budgets make it take to ask every server once.
fn minutes(config: &Config, communities: &Communities) -> u32 {
    let rounds = config.all_communities().flat_map(|(alias, community)| {
        let version = communities.api_version(alias);
        let rounds = |endpoint, plan: Plan| {
            let servers = community.account.endpoints[endpoint].servers;
            servers.div_ceil(plan.requests_per_minute)
        };
        [
            rounds(ApiEndpoint::Calls, Calls::plan(community, version)),
            rounds(ApiEndpoint::Units, Units::plan(community, version)),
        ]
    });
    // The first round takes no time.
    rounds.max().unwrap_or_default().saturating_sub(1).max(1)
}
