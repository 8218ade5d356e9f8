//! Many communities on the status page: their sums, and a row for each.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::request::{Request, Shown, link_to_community};
use super::words::{colour, grouped, number, queue, span, state, wait};
use crate::clock::Now;
use crate::report::{CallSummary, Health, Overview, Queue, Summary};

/// Maximum communities on a page: every slow reader keeps a copy of it in memory.
pub(super) const MAX_ROWS: usize = 100;

/// A community with its alias; the one that the environment describes has none.
type Row = (Option<String>, Summary);

/// The sums over the communities that the request selects, and a page of their table.
pub(super) fn render(overview: &Overview, request: &Request) -> Markup {
    let (communities, now) = (&overview.communities, overview.at);
    let rows = select(communities, request);
    let mut sum = Summary::default();
    for (_, summary) in &rows {
        sum.add(summary);
    }
    let pages = rows.len().div_ceil(MAX_ROWS);
    let page = request.page.clamp(1, pages.max(1));
    let shown = rows.iter().skip((page - 1) * MAX_ROWS).take(MAX_ROWS);
    html! {
        section {
            div.title {
                h2 { "Communities" }
                span { @if rows.len() < communities.len() { (many(rows.len())) " of " } (many(communities.len())) }
            }
            @if sum.in_panic() > 0 { p.panic role="alert" { "Panic: " (sum.in_panic()) @if sum.in_panic() == 1 { " unit" } @else { " units" } } }
            (render_sums(&sum, &rows, now))
            (render_filter(request))
            @if rows.is_empty() {
                p.quiet { @if communities.is_empty() { "No community is configured." } @else { "No community matches." } }
            } @else {
                div.scroll { (render_table(shown.copied(), now)) }
            }
            (render_pages(request, page, pages))
        }
    }
}

/// The communities that the request selects, the most urgent first: panic, trouble, and then the longest wait of a 911
/// call. All others follow in the order of their names.
fn select<'a>(communities: &'a [Row], request: &Request) -> Vec<&'a Row> {
    let text = request.filter.to_lowercase();
    let is_shown = |summary: &Summary| match request.shown {
        Shown::All => true,
        Shown::Waiting => urgency(summary) == Urgency::Panic || waiting(summary) > 0,
        Shown::Trouble => summary.health != Health::Up,
    };
    let mut rows: Vec<_> = communities
        .iter()
        .filter(|(alias, summary)| {
            let name = name(alias.as_deref().unwrap_or_default()).to_lowercase();
            is_shown(summary) && name.contains(&text)
        })
        .collect();
    rows.sort_by_key(|(_, summary)| {
        let urgency = urgency(summary);
        let emergency = summary.calls.as_ref().map(|calls| calls.emergency.since);
        let since = emergency.filter(|_| urgency == Urgency::Emergency);
        (Reverse(urgency), since.flatten())
    });
    rows
}

/// What needs a person, from the least urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Nothing,
    Emergency,
    Trouble,
    Panic,
}

fn urgency(summary: &Summary) -> Urgency {
    if summary.in_panic() > 0 {
        Urgency::Panic
    } else if summary.health == Health::Failed {
        Urgency::Trouble
    } else if summary.emergencies() > 0 {
        Urgency::Emergency
    } else {
        Urgency::Nothing
    }
}

/// How many calls wait for a dispatcher or for a unit.
fn waiting(summary: &Summary) -> u64 {
    let calls = summary.calls.as_ref();
    calls.map_or(0, |calls| {
        calls.emergency.count + calls.civil.count + calls.pending.count
    })
}

/// The name of the community with this alias; the one that the environment describes has an empty one.
pub(super) fn name(alias: &str) -> &str {
    if alias.is_empty() { "(environment)" } else { alias }
}

fn render_sums(sum: &Summary, rows: &[&Row], now: Now) -> Markup {
    let CallSummary {
        emergency,
        civil,
        pending,
        active,
    } = sum.calls.clone().unwrap_or_default();
    let troubled = rows
        .iter()
        .filter(|(_, summary)| summary.health == Health::Failed)
        .count();
    html! {
        dl.numbers.first {
            (queue("911 calls waiting", emergency, now))
            (queue("Pending calls", pending, now))
        }
        dl.numbers {
            (number("Active calls", active, ""))
            (queue("Civil calls", civil, now))
            @if let Some(units) = &sum.units { (number("Units on duty", units.on_duty, "")) }
            (number("Communities in trouble", u64::try_from(troubled).unwrap_or(u64::MAX), ""))
        }
    }
}

/// A number of communities.
fn many(communities: usize) -> String {
    grouped(u64::try_from(communities).unwrap_or(u64::MAX))
}

/// A form that changes the URL's query.
fn render_filter(request: &Request) -> Markup {
    html! {
        form {
            label { "Name contains " input type="search" name="name" value=(request.filter); }
            label {
                "Show "
                select name="show" {
                    @for shown in Shown::ALL {
                        @let (value, text) = shown.texts();
                        option value=(value) selected[shown == request.shown] { (text) }
                    }
                }
            }
            button { "Filter" }
        }
    }
}

fn render_table<'a>(rows: impl Iterator<Item = &'a Row>, now: Now) -> Markup {
    html! {
        table.wide {
            thead {
                tr {
                    th scope="col" { "Name" }
                    th scope="col" { "State" }
                    th scope="col" { "911" }
                    th scope="col" { "Pending" }
                    th scope="col" { "Active" }
                    th scope="col" { "Units" }
                }
            }
            tbody {
                @for (alias, summary) in rows { (render_row(alias.as_deref().unwrap_or_default(), summary, now)) }
            }
        }
    }
}

fn render_row(alias: &str, summary: &Summary, now: Now) -> Markup {
    let calls = summary.calls.as_ref();
    html! {
        tr {
            th scope="row" { a href=(link_to_community(alias)) { (name(alias)) } }
            td { @if summary.in_panic() > 0 { span.state.trouble { "Panic" } " " } (state(summary.health)) }
            (render_queue(calls.map(|calls| calls.emergency), now))
            (render_queue(calls.map(|calls| calls.pending), now))
            (render_count(calls.map(|calls| calls.active)))
            (render_count(summary.units.as_ref().map(|units| units.on_duty)))
        }
    }
}

/// How many wait, and how long the oldest has.
fn render_queue(queue: Option<Queue>, now: Now) -> Markup {
    let Some(queue) = queue else {
        return render_count(None);
    };
    let wait = wait(queue, now);
    let class = colour(wait).or((queue.count == 0).then_some("zero"));
    html! {
        td class=[class] { (grouped(queue.count)) @if let Some(wait) = wait { small { (span(wait)) } } }
    }
}

fn render_count(count: Option<u64>) -> Markup {
    html! {
        @match count {
            Some(0) => { td.zero { "0" } }
            Some(count) => { td { (grouped(count)) } }
            None => { td.zero { "–" } }
        }
    }
}

/// Links to the pages before and after this one, if there are several.
pub(super) fn render_pages(request: &Request, page: usize, pages: usize) -> Markup {
    html! {
        @if pages > 1 {
            nav aria-label="Pages" {
                @if page > 1 { a href=(request.link_to_page(page - 1)) rel="prev" { "Previous" } }
                span { "Page " (page) " of " (pages) }
                @if page < pages { a href=(request.link_to_page(page + 1)) rel="next" { "Next" } }
            }
        }
    }
}
