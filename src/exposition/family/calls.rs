//! Calls: what the snapshots contain, and what was counted from one to the next.

use std::fmt;

use enum_map::EnumMap;

use super::sample::{per_server, timestamp};
use crate::clock::Now;
use crate::exposition::encoder::{Encoder, Labels};
use crate::histogram::Histogram;
use crate::label::OTHER;
use crate::report::{CommunityReport, ServerReport};
use crate::snapshot::{CallSnapshot, EmergencyKind, Origin, Priority, Status, UnreadableField};
use crate::tracker::{CallStats, Oldest};

/// Writes the families of calls.
pub(super) fn encode(community: &CommunityReport, out: &mut Encoder) -> fmt::Result {
    let CommunityReport { at, servers } = community;
    encode_up(servers, out)?;
    encode_lists(servers, out)?;
    encode_oldest(servers, *at, out)?;
    encode_unreadable(servers, out)?;
    encode_stats(servers, out)
}

fn encode_up(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_up",
        "Whether the newest request for calls succeeded and its answer is recent enough to be shown (1), or not (0).",
        per_server(servers, |server| u64::from(server.calls.status.is_up)),
    )
}

/// What the lists of the newest snapshots contain. Absent while nothing recent is known, like the next families.
fn encode_lists(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_active_calls",
        "Dispatch calls in the CAD's list of active calls, pending ones included, as cached.",
        snapshots(servers).flat_map(|(id, snapshot)| active_calls(id, snapshot)),
    )?;
    out.gauge(
        "sonorancad_emergency_calls",
        "Emergency and civil calls that wait for a dispatcher, as cached.",
        snapshots(servers).flat_map(|(id, snapshot)| emergency_calls(id, snapshot)),
    )?;
    out.gauge(
        "sonorancad_unassigned_calls",
        "Pending and active dispatch calls with no unit attached, as cached.",
        snapshots(servers).flat_map(|(id, snapshot)| unassigned_calls(id, snapshot)),
    )?;
    out.gauge(
        "sonorancad_attached_units",
        "Different units attached to pending and active dispatch calls, as cached.",
        snapshots(servers).map(|(id, snapshot)| ([("server_id", id)], snapshot.active.attached_units())),
    )?;
    out.gauge(
        "sonorancad_closed_calls_stored",
        "Closed calls that the CAD keeps, as cached; only version v2 of the API reports them.",
        snapshots(servers).filter_map(|(id, snapshot)| Some(([("server_id", id)], snapshot.closed_stored?))),
    )
}

/// Since when the oldest calls have been waiting. Absent, too, while a call waits that cannot be followed.
fn encode_oldest(servers: &[ServerReport], at: Now, out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_oldest_pending_call_timestamp_seconds",
        "When the dispatch call that has been pending for longest was first seen pending, in Unix time, as cached; 0 if none is pending, absent if one is pending that cannot be followed.",
        stats(servers).flat_map(|(id, stats)| oldest_pending_calls(id, stats, at)),
    )?;
    out.gauge(
        "sonorancad_oldest_emergency_call_timestamp_seconds",
        "When the emergency or civil call that waits for longest was first seen, in Unix time, as cached; 0 if none waits, absent if one waits that cannot be followed.",
        stats(servers).flat_map(|(id, stats)| oldest_emergency_calls(id, stats, at)),
    )
}

/// How much of the newest snapshots' answers could not be read or used.
fn encode_unreadable(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_unreadable_values",
        "Values and items of active and emergency calls in the cached answer that are missing or cannot be read or used.",
        snapshots(servers).flat_map(|(id, snapshot)| {
            UnreadableField::ALL.iter().map(move |field| {
                (
                    [("server_id", id), ("field", field.label())],
                    snapshot.unreadable(*field),
                )
            })
        }),
    )
}

/// How calls come, wait and go, as far as the API's answers show it.
fn encode_stats(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.counter(
        "sonorancad_calls_opened_total",
        "Dispatch calls that appeared after the first answer of the API, by their first priority and origin.",
        by_priority_and_origin(servers, |stats, priority, origin| stats.opened[priority][origin]),
    )?;
    out.counter(
        "sonorancad_calls_opened_by_code_total",
        "Dispatch calls that appeared after the first answer of the API, by code; only with SONORANCAD_CALL_CODES.",
        counting(servers).flat_map(|server| {
            let codes = server.calls.stats.opened_by_code.iter();
            codes.map(|(code, count)| ([("server_id", &*server.id), ("code", code)], count))
        }),
    )?;
    out.counter(
        "sonorancad_calls_closed_total",
        "Dispatch calls that were closed or left the list, by their first priority and origin.",
        by_priority_and_origin(servers, |stats, priority, origin| stats.closed[priority][origin]),
    )?;
    out.histogram(
        "sonorancad_call_wait_seconds",
        "Time from coming to first active, as far as the answers show it: a call that came and was taken between two of them waited 0 s. A sum is right at any interval, a single time off by up to one.",
        by_priority(servers, |stats| &stats.waits),
    )?;
    out.histogram(
        "sonorancad_call_duration_seconds",
        "Time from coming to closed, as far as the answers show it: a call that came and closed between two of them took 0 s. Calls that were not seen to come are not included.",
        by_priority(servers, |stats| &stats.durations),
    )?;
    out.counter(
        "sonorancad_emergency_calls_opened_total",
        "Emergency and civil calls that appeared after the first answer of the API; one that came and went between two answers counts, as emergency, if a dispatch call was made from it.",
        by_kind(servers, |stats, kind| stats.emergency_opened[kind]),
    )?;
    out.counter(
        "sonorancad_emergency_calls_cleared_total",
        "Emergency and civil calls that left the list: dispatched, merged, removed or expired.",
        by_kind(servers, |stats, kind| stats.emergency_cleared[kind]),
    )?;
    out.histogram(
        "sonorancad_emergency_call_wait_seconds",
        "Time from coming to leaving the list, as far as the answers show it; calls that were not seen to come are not included.",
        by_kind(servers, |stats, kind| &stats.emergency_waits[kind]),
    )
}

/// The servers with a recent snapshot.
fn snapshots(servers: &[ServerReport]) -> impl Iterator<Item = (&str, &CallSnapshot)> {
    servers
        .iter()
        .filter_map(|server| Some((&*server.id, server.calls.snapshot.as_deref()?)))
}

/// What was counted on the servers with a recent snapshot.
fn stats(servers: &[ServerReport]) -> impl Iterator<Item = (&str, &CallStats)> {
    let recent = servers.iter().filter(|server| server.calls.snapshot.is_some());
    recent.map(|server| (&*server.id, &server.calls.stats))
}

/// The servers whose counts are shown.
fn counting(servers: &[ServerReport]) -> impl Iterator<Item = &ServerReport> {
    servers.iter().filter(|server| !server.calls.status.is_behind)
}

/// Every known combination of labels, and those with "other" that occur.
fn active_calls<'a>(id: &'a str, snapshot: &'a CallSnapshot) -> impl Iterator<Item = (Labels<'a, 4>, u64)> {
    let combinations = Priority::ALL.iter().flat_map(|priority| {
        let with_status = Status::ALL.iter().map(move |status| (priority, status));
        with_status.flat_map(|(priority, status)| Origin::ALL.iter().map(move |origin| (priority, status, origin)))
    });
    combinations
        .map(move |(priority, status, origin)| {
            let labels = [
                ("server_id", id),
                ("priority", priority.label()),
                ("status", status.label()),
                ("origin", origin.label()),
            ];
            (labels, snapshot.active.count(*priority, *status, *origin))
        })
        .filter(|([_, labels @ ..], count)| *count > 0 || labels.iter().all(|(_, value)| *value != OTHER))
}

fn emergency_calls<'a>(id: &'a str, snapshot: &'a CallSnapshot) -> impl Iterator<Item = (Labels<'a, 2>, u64)> {
    EmergencyKind::ALL.iter().map(move |kind| {
        let labels = [("server_id", id), ("kind", kind.label())];
        (labels, snapshot.emergency.count(*kind))
    })
}

/// Every known priority, and "other" when it occurs.
fn unassigned_calls<'a>(id: &'a str, snapshot: &'a CallSnapshot) -> impl Iterator<Item = (Labels<'a, 2>, u64)> {
    let counts = Priority::ALL.iter().map(move |priority| {
        let labels = [("server_id", id), ("priority", priority.label())];
        (labels, snapshot.active.unassigned(*priority))
    });
    counts.filter(|([_, (_, priority)], count)| *priority != OTHER || *count > 0)
}

/// Every known priority, and "other" when such a call is pending.
fn oldest_pending_calls<'a>(id: &'a str, stats: &'a CallStats, at: Now) -> impl Iterator<Item = (Labels<'a, 2>, f64)> {
    Priority::ALL.iter().filter_map(move |priority| {
        let oldest = stats.oldest_pending[*priority];
        let is_shown = priority.label() != OTHER || oldest != Oldest::NoneWaits;
        let labels = [("server_id", id), ("priority", priority.label())];
        Some((labels, waiting_since(oldest, at)?)).filter(|_| is_shown)
    })
}

fn oldest_emergency_calls<'a>(
    id: &'a str,
    stats: &'a CallStats,
    at: Now,
) -> impl Iterator<Item = (Labels<'a, 2>, f64)> {
    EmergencyKind::ALL.iter().filter_map(move |kind| {
        let labels = [("server_id", id), ("kind", kind.label())];
        Some((labels, waiting_since(stats.oldest_emergency[*kind], at)?))
    })
}

fn by_priority_and_origin(
    servers: &[ServerReport],
    count: fn(&CallStats, Priority, Origin) -> u64,
) -> impl Iterator<Item = (Labels<'_, 3>, u64)> {
    let origins = |priority| Origin::ALL.iter().map(move |origin| (priority, origin));
    counting(servers).flat_map(move |server| {
        Priority::ALL.iter().flat_map(origins).map(move |(priority, origin)| {
            let labels = [
                ("server_id", &*server.id),
                ("priority", priority.label()),
                ("origin", origin.label()),
            ];
            (labels, count(&server.calls.stats, *priority, *origin))
        })
    })
}

fn by_priority(
    servers: &[ServerReport],
    histograms: fn(&CallStats) -> &EnumMap<Priority, Histogram>,
) -> impl Iterator<Item = (Labels<'_, 2>, &Histogram)> {
    counting(servers).flat_map(move |server| {
        Priority::ALL.iter().map(move |priority| {
            let labels = [("server_id", &*server.id), ("priority", priority.label())];
            (labels, &histograms(&server.calls.stats)[*priority])
        })
    })
}

fn by_kind<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a CallStats, EmergencyKind) -> V + Copy,
) -> impl Iterator<Item = (Labels<'a, 2>, V)> {
    counting(servers).flat_map(move |server| {
        EmergencyKind::ALL.iter().map(move |kind| {
            let labels = [("server_id", &*server.id), ("kind", kind.label())];
            (labels, value(&server.calls.stats, *kind))
        })
    })
}

/// The Unix time since when the oldest call waits; 0 if none does, `None` if that is not known.
fn waiting_since(oldest: Oldest, at: Now) -> Option<f64> {
    match oldest {
        Oldest::NoneWaits => Some(timestamp(None)),
        Oldest::Since(moment) => Some(timestamp(Some(at.unix_at(moment)))),
        Oldest::Unknown => None,
    }
}
