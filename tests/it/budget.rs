//! The request budget in simulated time: two Prometheus servers, and never too many requests.

use std::fmt::Write as _;
use std::time::Duration;

use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo;

use crate::documentation::FRESHNESS;
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{NOON, Running, failures, move_to, value};
use crate::support::simulated;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(60);

/// The outcome of ten simulated minutes.
struct Outcome {
    requests: usize,
    most_in_a_window: usize,
    /// The greatest age of the data in any scrape that came after all servers were first read.
    greatest_age: Duration,
    /// The longest time between two requests for the same server.
    longest_wait: Duration,
}

/// Simulates two Prometheus servers that scrape every 15 s, 7 s apart, for ten minutes; `answer` returns the CAD's
/// answer at each scrape.
async fn simulate(server_ids: &str, latency: Duration, answer: impl Fn(u32) -> Option<Answer>) -> Outcome {
    let cad = Cad::start().await;
    let good = Answer::ok(r#"{"activeCalls":[]}"#);
    let variables = [("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_SERVER_IDS", server_ids)];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    cad.keep_time(&clock, latency);
    let mut greatest_age = Duration::ZERO;
    for scrape in 0..80 {
        move_to(&clock, NOON + SECOND * (scrape / 2 * 15 + scrape % 2 * 7));
        cad.answer(answer(scrape).unwrap_or_else(|| good.clone()));
        let text = exporter.scrape().await;
        let ages: Vec<_> = server_ids
            .split(',')
            .map(|id| age(&text, id, "calls", &clock))
            .collect();
        if let Some(age) = ages
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|ages| ages.into_iter().max())
        {
            greatest_age = greatest_age.max(age);
        }
    }
    let requests = cad.requests();
    let times: Vec<_> = requests.iter().map(|request| request.at.unwrap().unix).collect();
    let in_window = |begin: &Duration| {
        times
            .iter()
            .filter(|time| **time >= *begin && **time < *begin + WINDOW)
            .count()
    };
    let longest_wait = |id: &str| {
        let of_server = requests.iter().filter(|request| request.server_id() == id.parse().ok());
        let times: Vec<_> = of_server.map(|request| request.at.unwrap().unix).collect();
        times
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .max()
            .unwrap_or_default()
    };
    Outcome {
        requests: requests.len(),
        most_in_a_window: times.iter().map(in_window).max().unwrap(),
        greatest_age,
        longest_wait: server_ids.split(',').map(longest_wait).max().unwrap(),
    }
}

/// The age of a server's data at the time of the scrape; `None` before the first.
fn age(text: &str, id: &str, endpoint: &str, clock: &ManualClock) -> Option<Duration> {
    let fetched_at = value(
        text,
        &format!("sonorancad_last_success_timestamp_seconds{{server_id=\"{id}\",api_endpoint=\"{endpoint}\"}}"),
    );
    let now = Clock::Manual(clock.clone()).now().unix;
    (fetched_at > 0.0).then(|| now.saturating_sub(Duration::from_secs_f64(fetched_at)))
}

#[tokio::test]
async fn the_budget_is_never_overspent() {
    let mut table = String::from("\nservers  latency  budget  most in 60 s  requests  greatest age  longest wait\n");
    // Three servers share two slots a minute: the TTL in force is 90 s, and a slot is free a minute after an answer.
    for (server_ids, budget, oldest) in [("1", 4, 25), ("1,2,3", 2, 150)] {
        for latency in [Duration::ZERO, SECOND, 5 * SECOND] {
            let outcome = simulate(server_ids, latency, |_| None).await;
            writeln!(
                table,
                "{server_ids:7}  {latency:7?}  {budget:6}  {:12}  {:8}  {:12?}  {:12?}",
                outcome.most_in_a_window, outcome.requests, outcome.greatest_age, outcome.longest_wait
            )
            .unwrap();
            assert!(outcome.most_in_a_window <= budget, "{table}");
            assert!(outcome.greatest_age <= SECOND * oldest, "{table}");
        }
    }
    eprintln!("{table}");
}

#[tokio::test]
#[ignore = "slow"]
async fn the_budget_is_never_overspent_when_the_api_fails() {
    let broken = |_| Some(Answer::status(500, &[], ""));
    let cut = |scrape| (scrape % 3 != 0).then(|| Answer::BytesThenReset(Vec::new()));
    let limited = |scrape| (scrape % 5 == 0).then(|| Answer::status(429, &[("Retry-After", "1")], ""));
    for (server_ids, budget) in [("1", 4), ("1,2,3", 2)] {
        for latency in [Duration::ZERO, 5 * SECOND] {
            for outcome in [
                simulate(server_ids, latency, broken).await,
                simulate(server_ids, latency, cut).await,
                simulate(server_ids, latency, limited).await,
            ] {
                assert!(
                    outcome.most_in_a_window <= budget,
                    "{server_ids} {latency:?}: {}",
                    outcome.most_in_a_window
                );
                assert!(outcome.requests > 0);
            }
        }
    }
}

#[tokio::test]
async fn no_server_starves_when_there_are_more_servers_than_slots() {
    let outcome = simulate("1,2,3,4,5,6", SECOND, |_| None).await;
    assert_eq!(outcome.most_in_a_window, 1);
    // Six servers and one slot a minute: each is read every six minutes and a little more.
    assert!(outcome.longest_wait <= SECOND * 460, "{:?}", outcome.longest_wait);
}

#[tokio::test]
async fn the_server_whose_attempt_is_oldest_is_asked_first() {
    let cad = Cad::start().await;
    let variables = [
        ("SONORANCAD_SERVER_IDS", "1,2,3"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "1"),
    ];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    for _ in 0..4 {
        exporter.scrape().await;
        clock.advance(SECOND * 181);
    }
    let asked: Vec<_> = cad
        .requests()
        .iter()
        .map(|request| request.server_id().unwrap())
        .collect();
    assert_eq!(asked, [1, 2, 3, 1]);
}

/// The ids of this many servers.
fn ids(servers: u32) -> String {
    let ids: Vec<_> = (1..=servers).map(|id| id.to_string()).collect();
    ids.join(",")
}

/// What two Prometheus see in 30 minutes of a CAD that keeps to the API's limit.
struct HalfHour {
    /// The requests for calls and for units.
    requests: [f64; 2],
    /// The greatest age of calls and of units.
    greatest_age: [Duration; 2],
    failures: Vec<(String, u64)>,
}

/// Simulates it: 5 requests for calls and 3 for units in any minute for a key, of each of which each game server takes one.
async fn half_an_hour_at_the_limit(servers: u32, version: &str) -> HalfHour {
    let clock = ManualClock::new(NOON);
    let system = Clock::Manual(clock.clone());
    let (_, url) = match version {
        "auto" => simulated::start_without_v1(1, 100, servers, &system).await,
        _ => simulated::start(1, 100, servers, &system).await,
    };
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", demo::COMMUNITY_ID),
        ("SONORANCAD_API_KEY", demo::API_KEY),
        ("SONORANCAD_API_VERSION", version),
        ("SONORANCAD_COLLECT", "calls,units"),
        ("SONORANCAD_SERVER_IDS", &ids(servers)),
    ];
    let exporter = Running::start_with(&url, &variables, &system);
    let mut greatest_age = [Duration::ZERO; 2];
    let mut text = String::new();
    for scrape in 0..240 {
        move_to(&clock, NOON + SECOND * (scrape / 2 * 15 + scrape % 2 * 7));
        text = exporter.scrape().await;
        for (greatest, endpoint) in greatest_age.iter_mut().zip(["calls", "units"]) {
            let ages = (1..=servers).map(|id| age(&text, &id.to_string(), endpoint, &clock));
            // From when all servers have been read.
            if let Some(ages) = ages.collect::<Option<Vec<_>>>() {
                *greatest = (*greatest).max(ages.into_iter().max().unwrap());
            }
        }
    }
    let requests = |endpoint| {
        let series = (1..=servers)
            .map(|id| format!("sonorancad_api_requests_total{{server_id=\"{id}\",api_endpoint=\"{endpoint}\"}}"));
        series.map(|series| value(&text, &series)).sum()
    };
    HalfHour {
        requests: ["calls", "units"].map(requests),
        greatest_age,
        failures: failures(&text),
    }
}

#[tokio::test]
#[ignore = "slow"]
async fn the_limit_of_the_api_is_never_reached_up_to_four_servers() {
    let mut table = String::from("\nservers  requests in 30 min  greatest age\n");
    let mut ages_of_units = Vec::new();
    for servers in 1..=4 {
        let outcome = half_an_hour_at_the_limit(servers, "v2").await;
        let HalfHour {
            requests, greatest_age, ..
        } = outcome;
        writeln!(table, "{servers:7}  {requests:?}  {greatest_age:?}").unwrap();
        // With three servers, the game servers take all that the API allows for units.
        let of_calls = outcome
            .failures
            .iter()
            .filter(|(error, _)| !error.contains("\"units\""));
        assert_eq!(of_calls.count(), 0, "{servers} servers: {:?}", outcome.failures);
        assert!(servers >= 3 || outcome.failures.is_empty(), "{:?}", outcome.failures);
        let begin = format!("| {servers} | {} | ", 5 - servers);
        let end = format!(" | {} s |", greatest_age[0].as_secs());
        let is_row = |line: &str| line.starts_with(&begin) && line.ends_with(&end);
        assert!(
            FRESHNESS.lines().any(is_row),
            "docs/freshness.md says something else: {table}"
        );
        assert!(requests[0] > 20.0 && requests[1] > 20.0, "{table}");
        ages_of_units.push(format!("{} s", greatest_age[1].as_secs()));
    }
    let (last, others) = ages_of_units.split_last().unwrap();
    let sentence = format!(
        "Units are at most {} and {last} old with 1 to 4 servers.",
        others.join(", ")
    );
    assert!(
        FRESHNESS.contains(&sentence),
        "docs/freshness.md does not say: {sentence}"
    );
    // The same from where version v1 has refused: two requests for each server and endpoint, once.
    for servers in 1..=3 {
        let outcome = half_an_hour_at_the_limit(servers, "auto").await;
        writeln!(
            table,
            "{servers:7}  {:?}  {:?}, v1 gone",
            outcome.requests, outcome.greatest_age
        )
        .unwrap();
        let refusals = vec![("ENDPOINT GONE".to_owned(), 1); 2 * servers as usize];
        assert_eq!(outcome.failures, refusals, "{servers} servers");
    }
    // There is nothing left of the limit, and no more than the exporter's own budget is asked for.
    for servers in [5, 8] {
        let outcome = simulate(&ids(servers), SECOND, |_| None).await;
        assert_eq!(outcome.most_in_a_window, 1, "{servers} servers");
    }
    eprintln!("{table}");
}
