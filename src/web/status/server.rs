//! The servers of one community, on the status page.

use enum_map::EnumMap;
use maud::{Markup, html};

use super::request::Request;
use super::words::{cell, freshness, grouped, next_request, number, queue, span, state};
use super::{overview, picture, units};
use crate::clock::Now;
use crate::report::{CommunityReport, FeedStatus, Health, ServerReport};
use crate::snapshot::{CallSnapshot, Origin, Priority, Status};

/// Maximum servers on a page: every slow reader keeps a copy of it in memory.
pub(super) const MAX_SERVERS: usize = 5;

/// The servers of a community; those of one page if there are many.
pub(super) fn render_all(report: &CommunityReport, request: &Request) -> Markup {
    let pages = report.servers.len().div_ceil(MAX_SERVERS);
    let page = request.page.clamp(1, pages.max(1));
    let servers = report.servers.iter().skip((page - 1) * MAX_SERVERS).take(MAX_SERVERS);
    html! {
        @for server in servers { (render(server, report.at)) }
        (overview::render_pages(request, page, pages))
    }
}

/// What waits comes first, then what else goes on, and how the exporter goes on in small print.
fn render(server: &ServerReport, now: Now) -> Markup {
    let summary = server.summary();
    let in_panic = summary.in_panic();
    html! {
        section {
            div.title {
                @match &server.name {
                    Some(name) => { h2 dir="auto" { (name) } span { "server " (server.id) } }
                    None => { h2 { "Server " (server.id) } }
                }
                (state(summary.health))
            }
            @if in_panic > 0 {
                p.panic role="alert" { "Panic: " (in_panic) @if in_panic == 1 { " unit" } @else { " units" } }
            }
            (render_freshness(server, now))
            @if let (Some(snapshot), Some(calls)) = (&server.calls.snapshot, &summary.calls) {
                dl.numbers.first {
                    (queue("911 calls waiting", calls.emergency, now))
                    (queue("Pending calls", calls.pending, now))
                }
                @let unassigned = Priority::ALL.iter().map(|priority| snapshot.active.unassigned(*priority)).sum();
                dl.numbers {
                    (number("Active calls", calls.active, ""))
                    (number("Without a unit", unassigned, ""))
                    (number("Units attached", snapshot.active.attached_units(), ""))
                    (queue("Civil calls", calls.civil, now))
                }
            }
            div.halves {
                div {
                    (picture::render(&server.history, picture::hold(server.calls.status.ttl)))
                    @if let Some(snapshot) = &server.calls.snapshot { (render_calls(snapshot)) }
                }
                @if let Some(units) = &server.units && let Some(snapshot) = &units.snapshot {
                    (units::render(snapshot.counts(), units.stats.is_truncated))
                }
            }
            (render_totals(server))
        }
    }
}

/// How fresh the data of each endpoint is, and what is wrong with it.
fn render_freshness(server: &ServerReport, now: Now) -> Markup {
    let calls = &server.calls;
    // Before the first scrape, one hint is enough.
    let units = server.units.as_ref();
    let units = units.filter(|units| units.status.health() != Health::New);
    let is_alike = units.is_some_and(|units| {
        let failures = units.status.failure.as_ref().zip(calls.status.failure.as_ref());
        failures.is_some_and(|(one, other)| one.label == other.label && one.reason == other.reason)
    });
    html! {
        p.quiet {
            (freshness("Calls", calls, now))
            @if let Some(units) = units { " " (freshness("Units", units, now)) }
        }
        (render_failure(if is_alike { "Calls and units" } else { "Calls" }, &calls.status, now))
        @if let Some(units) = units.filter(|_| !is_alike) { (render_failure("Units", &units.status, now)) }
    }
}

fn render_failure(what: &str, feed: &FeedStatus, now: Now) -> Markup {
    let Some(failure) = &feed.failure else {
        return html! {};
    };
    html! {
        div.alarm {
            p { strong { (what) ": " (failure.label) } " " span.quiet { (span(now.since(failure.at))) " ago" } }
            p { "What happened: " (failure.reason) "." }
            p { "What to do: " (failure.advice) "." }
            p { (next_request(feed, now)) }
        }
    }
}

/// Calls by priority and status. Unusual values are shown only if there are such calls.
fn render_calls(snapshot: &CallSnapshot) -> Markup {
    let is_usual = |label: &str| !["closed", "other"].contains(&label);
    let of_priority = |priority| sum(Status::ALL, |status| snapshot.active.by_status(priority, status));
    let statuses = || {
        let all = Status::ALL.iter();
        all.filter(|status| is_usual(status.label()) || snapshot.active.with_status(**status) > 0)
    };
    let priorities = Priority::ALL
        .iter()
        .filter(|priority| is_usual(priority.label()) || of_priority(**priority) > 0);
    html! {
        table {
            caption { "Calls by priority" }
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
                        @for status in statuses() { (cell(snapshot.active.by_status(*priority, *status))) }
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
        p.small {
            "Since the exporter started: calls opened " (grouped(all(&stats.opened))) ", closed " (grouped(all(&stats.closed)))
            "; requests to the API " (grouped(requests)) ", failed " (grouped(failed)) ". "
            "Version " (server.api_version.label()) " of the API is in use, " (server.version_reason) "."
        }
    }
}

fn sum<T: Copy>(values: &[T], count: impl Fn(T) -> u64) -> u64 {
    values.iter().map(|value| count(*value)).sum()
}
