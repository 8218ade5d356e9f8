//! The status page: what is going on, how fresh that is, what is wrong and what to do.
//!
//! It is made from a [`Report`] alone, so it asks the API nothing. It has no scripts. Its only style is its own,
//! which its content security policy names by hash. Every text from outside is escaped.

mod units;

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse};
use enum_map::EnumMap;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::clock::Now;
use crate::process::LONG_VERSION;
use crate::report::{CommunityReport, Failure, FeedReport, FeedStatus, Report, ServerReport};
use crate::snapshot::{CallSnapshot, EmergencyKind, Origin, Priority, Status};
use crate::tracker::Oldest;

const STYLE: &str = include_str!("status.css");

/// The policy allows the page only its own style, by its SHA-256. A test compares that with the file.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'sha256-NIWEqd4n3i7XVYvN+s5Sd0LWWopUoLW2TztXD6UT1ls='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// How often a browser loads the page again, in seconds: as often as Prometheus usually scrapes.
const REFRESH_SECONDS: u32 = 30;

/// Maximum communities on the page: every slow reader keeps a copy of it in memory.
pub(super) const MAX_COMMUNITIES: usize = 100;

/// The response with the page, which shows `others`, the most urgent of `count` communities.
pub(super) fn respond(own: &Report, others: &[(String, CommunityReport)], count: usize) -> impl IntoResponse + use<> {
    (HEADERS, Html(render(own, others, count).into_string()))
}

fn render(own: &Report, others: &[(String, CommunityReport)], count: usize) -> Markup {
    let reports = others.iter().map(|(_, report)| report).chain([&own.community]);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { (title(reports.flat_map(|report| &report.servers))) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Sonoran CAD exporter" }
                    span { "version " (LONG_VERSION) }
                }
                (render_main(own, others, count))
                (render_footer())
            }
        }
    }
}

fn render_main(own: &Report, others: &[(String, CommunityReport)], count: usize) -> Markup {
    html! {
        main {
            @if own.exporter.as_ref().is_some_and(|exporter| !exporter.is_reload_successful) {
                p class="alarm" {
                    "The configuration that was read last cannot be used; an earlier one is. The log says why."
                }
            }
            @for server in &own.community.servers {
                (render_server(server, own.community.at))
            }
            @for (alias, report) in others {
                h2 class="community" { (alias) }
                @for server in &report.servers {
                    (render_server(server, report.at))
                }
            }
            @if others.len() < count {
                p class="quiet" {
                    "These are " (others.len()) " of " (count) " communities, those with trouble first; "
                    "Prometheus sees them all."
                }
            }
        }
    }
}

fn render_footer() -> Markup {
    html! {
        footer {
            p {
                a href="metrics" { "Metrics" }
                a href="-/healthy" { "Health" }
                a href="-/ready" { "Readiness" }
            }
            p {
                "This page asks the API nothing. It shows the result of the last scrape, and reloads every "
                (REFRESH_SECONDS) " s."
            }
        }
    }
}

/// For the browser's tab: whether anything is wrong.
fn title<'a>(servers: impl Iterator<Item = &'a ServerReport>) -> &'static str {
    let mut feeds = servers.flat_map(ServerReport::feeds);
    if feeds.any(|(_, feed)| feed.failure.is_some()) {
        "Trouble · Sonoran CAD exporter"
    } else {
        "Sonoran CAD exporter"
    }
}

/// The state of a feed, as the page shows it.
enum State<'a> {
    /// The newest attempt succeeded, and not long ago.
    Up,
    /// The newest attempt failed.
    Failed(&'a Failure),
    /// Nothing failed here, but the key is paused because of another server.
    Paused,
    /// The newest attempt succeeded, but long ago.
    Unasked,
    /// No attempt has ended yet.
    New,
}

impl<'a> State<'a> {
    fn of(feed: &'a FeedStatus) -> Self {
        match &feed.failure {
            Some(failure) => Self::Failed(failure),
            None if feed.is_up => Self::Up,
            None if feed.retry_at.is_some() => Self::Paused,
            None if feed.last_success.is_some() => Self::Unasked,
            None => Self::New,
        }
    }

    /// In a word or two, and the class of its colour.
    fn label(&self) -> (&'static str, &'static str) {
        match self {
            Self::Up => ("Up", "well"),
            Self::Failed(_) => ("Failing", "trouble"),
            Self::Paused => ("Paused", "waiting"),
            Self::Unasked => ("Not asked lately", "waiting"),
            Self::New => ("Not asked yet", "waiting"),
        }
    }
}

fn render_server(server: &ServerReport, now: Now) -> Markup {
    html! {
        section {
            div.title {
                @match &server.name {
                    Some(name) => { h2 { (name) } span { "server " (server.id) } }
                    None => { h2 { "Server " (server.id) } }
                }
                (render_state(&server.calls.status))
            }
            (render_feed(&server.calls, now))
            @if let Some(snapshot) = &server.calls.snapshot {
                (render_numbers(server, snapshot, now))
                (render_calls(snapshot))
            }
            @if let Some(units) = &server.units {
                div.title { h3 { "Units on duty" } (render_state(&units.status)) }
                (render_feed(units, now))
                @if let Some(snapshot) = &units.snapshot {
                    (units::render(snapshot.counts(), units.stats.is_truncated))
                }
            }
            (render_totals(server))
        }
    }
}

fn render_state(feed: &FeedStatus) -> Markup {
    let (label, class) = State::of(feed).label();
    html! { span.state.(class) { (label) } }
}

/// How fresh the data of a feed is, and what is wrong with it.
fn render_feed<S, T>(feed: &FeedReport<S, T>, now: Now) -> Markup {
    html! {
        p.quiet { (freshness(feed, now)) " " (next_request(&feed.status, now)) }
        @if let State::Failed(failure) = State::of(&feed.status) {
            (render_failure(failure, now))
        }
    }
}

/// The age of the data that is shown.
fn freshness<S, T>(feed: &FeedReport<S, T>, now: Now) -> String {
    let age = feed.status.last_success.map(|at| span(now.unix.saturating_sub(at)));
    match (age, &feed.snapshot) {
        (None, _) => "The API has not answered yet.".to_owned(),
        (Some(age), Some(_)) => format!("As of {age} ago."),
        (Some(age), None) => format!("The last good answer is {age} old, too old to be shown."),
    }
}

/// When the API is asked again.
fn next_request(feed: &FeedStatus, now: Now) -> String {
    let fresh_until = feed.last_success.map(|at| at + feed.ttl);
    let due = feed.retry_at.max(fresh_until).map(|at| at.saturating_sub(now.unix));
    match due {
        Some(wait) if wait.as_secs() > 0 => format!("The first scrape after {} asks the API again.", span(wait)),
        Some(_) => "The next scrape asks the API again.".to_owned(),
        None => {
            "The first scrape asks it: let Prometheus scrape the metrics, or open them with the link below.".to_owned()
        }
    }
}

fn render_failure(failure: &Failure, now: Now) -> Markup {
    html! {
        div.alarm {
            p { strong { (failure.label) } " " span.quiet { (span(now.since(failure.at))) " ago" } }
            p { "What happened: " (failure.reason) "." }
            p { "What to do: " (failure.advice) "." }
        }
    }
}

fn render_numbers(server: &ServerReport, snapshot: &CallSnapshot, now: Now) -> Markup {
    let stats = &server.calls.stats;
    let count = |status| sum(Priority::ALL, |priority| snapshot.active.by_status(priority, status));
    let unassigned = sum(Priority::ALL, |priority| snapshot.active.unassigned(priority));
    let age = |oldest: &Oldest| match oldest {
        Oldest::Since(since) => Some(now.instant.saturating_duration_since(*since)),
        Oldest::NoneWaits | Oldest::Unknown => None,
    };
    let oldest = |age: Option<Duration>| age.map(|age| format!("oldest {}", span(age)));
    let pending = stats.oldest_pending.values().filter_map(age).max();
    html! {
        dl.numbers {
            (number("Pending", count(Status::Pending), oldest(pending)))
            (number("Active", count(Status::Active), None))
            (number("Without a unit", unassigned, None))
            (number("Units attached", snapshot.active.attached_units(), None))
            @for (name, kind) in [("Emergency calls", EmergencyKind::Emergency), ("Civil calls", EmergencyKind::Civil)] {
                (number(name, snapshot.emergency.count(kind), oldest(age(&stats.oldest_emergency[kind]))))
            }
        }
    }
}

fn number(name: &str, count: u64, remark: Option<String>) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (count) small { (remark.unwrap_or_default()) } }
        }
    }
}

/// Calls by priority and status. Unusual values are shown only if there are such calls.
fn render_calls(snapshot: &CallSnapshot) -> Markup {
    let is_usual = |label: &str| !["closed", "other"].contains(&label);
    let of_status = |status| sum(Priority::ALL, |priority| snapshot.active.by_status(priority, status));
    let of_priority = |priority| sum(Status::ALL, |status| snapshot.active.by_status(priority, status));
    let statuses = || {
        let all = Status::ALL.iter();
        all.filter(|status| is_usual(status.label()) || of_status(**status) > 0)
    };
    let priorities = Priority::ALL
        .iter()
        .filter(|priority| is_usual(priority.label()) || of_priority(**priority) > 0);
    html! {
        table {
            caption { "Dispatch calls by priority and status" }
            thead {
                tr {
                    th scope="col" { "Priority" }
                    @for status in statuses() { th scope="col" { (status.label()) } }
                }
            }
            tbody {
                @for priority in priorities {
                    tr class={ "priority-" (priority.label()) } {
                        th scope="row" { (priority.label()) }
                        @for status in statuses() {
                            @let count = snapshot.active.by_status(*priority, *status);
                            td class=[(count == 0).then_some("zero")] { (count) }
                        }
                    }
                }
            }
        }
    }
}

/// What was counted since the exporter started.
fn render_totals(server: &ServerReport) -> Markup {
    let stats = &server.calls.stats;
    let all =
        |counts: &EnumMap<Priority, EnumMap<Origin, u64>>| -> u64 { counts.values().flat_map(EnumMap::values).sum() };
    let requests: u64 = server.feeds().map(|(_, feed)| feed.counts.requests).sum();
    let failed: u64 = server.feeds().flat_map(|(_, feed)| feed.counts.errors.values()).sum();
    html! {
        p.quiet {
            "Since the exporter started: calls opened " (all(&stats.opened)) ", closed " (all(&stats.closed))
            "; requests to the API " (requests) ", failed " (failed) ". "
            "Version " (server.api_version.label()) " of the API is in use, " (server.version_reason) "."
        }
    }
}

fn sum<T: Copy>(values: &[T], count: impl Fn(T) -> u64) -> u64 {
    values.iter().map(|value| count(*value)).sum()
}

/// A length of time in whole seconds, for people.
fn span(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

#[cfg(test)]
mod tests;
