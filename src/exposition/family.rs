//! Every metric family, in the order of exposition: name, meaning, labels and values together.

use std::fmt;
use std::time::Duration;

use super::dialect::{Dialect, Labels};
use crate::clock::Now;
use crate::community::{ExporterReport, Report, ServerReport};
use crate::histogram::Histogram;
use crate::process::{Process, REVISION, VERSION};
use crate::snapshot::{EmergencyKind, Origin, Priority, Snapshot, Status, Unreadable};
use crate::tracker::Lifecycles;

/// The value of the label `endpoint`: the API's list of calls.
const CALLS: &str = "calls";

/// The label value for what is not known; such gauges are there only when it occurs.
const OTHER: &str = "other";

/// Writes all families of which there is something to say.
pub(super) fn encode(report: &Report, out: &mut Dialect) -> fmt::Result {
    if !report.servers.is_empty() {
        encode_calls(&report.servers, out)?;
        encode_lifecycles(&report.servers, out)?;
        encode_api(&report.servers, out)?;
        encode_cache(&report.servers, out)?;
    }
    match &report.exporter {
        Some(exporter) => encode_exporter(exporter, out),
        None => Ok(()),
    }
}

/// What goes on in the CAD; but for `up`, absent while nothing recent is known.
fn encode_calls(servers: &[ServerReport], out: &mut Dialect) -> fmt::Result {
    out.gauge(
        "sonorancad_up",
        "Whether the newest request to the API succeeded and its answer is recent enough to be shown (1), or not (0).",
        each(servers, |server| u64::from(server.is_up)),
    )?;
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
        "Closed calls that the CAD keeps, as cached; only version v2 of the API says it.",
        snapshots(servers).filter_map(|(id, snapshot)| Some(([("server_id", id)], snapshot.closed_stored?))),
    )?;
    out.gauge(
        "sonorancad_oldest_pending_call_timestamp_seconds",
        "When the dispatch call that has been pending for longest was first seen so, in Unix time, as cached; 0 if none is pending.",
        lifecycles(servers).flat_map(|(id, lifecycles)| oldest_pending_calls(id, lifecycles)),
    )?;
    out.gauge(
        "sonorancad_oldest_emergency_call_timestamp_seconds",
        "When the emergency or civil call that waits for longest was first seen, in Unix time, as cached; 0 if none waits.",
        lifecycles(servers).flat_map(|(id, lifecycles)| oldest_emergency_calls(id, lifecycles)),
    )?;
    out.gauge(
        "sonorancad_unreadable_values",
        "Values and items of active and emergency calls in the cached answer that are missing or could not be read.",
        snapshots(servers).flat_map(|(id, snapshot)| {
            Unreadable::ALL
                .iter()
                .map(move |what| ([("server_id", id), ("field", what.label())], snapshot.unreadable(*what)))
        }),
    )?;
    out.gauge(
        "sonorancad_last_success_timestamp_seconds",
        "When the request that brought the newest good answer started, in Unix time; 0 before the first.",
        each(servers, |server| timestamp(server.last_success)),
    )
}

/// How calls come, wait and go, as far as the answers of the API show it.
fn encode_lifecycles(servers: &[ServerReport], out: &mut Dialect) -> fmt::Result {
    out.counter(
        "sonorancad_calls_opened_total",
        "Dispatch calls that appeared after the exporter's first look, by their first priority and origin.",
        by_priority_and_origin(servers, Lifecycles::opened),
    )?;
    out.counter(
        "sonorancad_calls_closed_total",
        "Dispatch calls that were closed or left the list, by their first priority and origin.",
        by_priority_and_origin(servers, Lifecycles::closed),
    )?;
    out.histogram(
        "sonorancad_call_wait_seconds",
        "Time from first seen pending to first seen active; calls that were never seen pending are not in it.",
        by_priority(servers, Lifecycles::wait),
    )?;
    out.histogram(
        "sonorancad_call_duration_seconds",
        "Time from first seen to closed; calls whose coming was not seen are not in it.",
        by_priority(servers, Lifecycles::duration),
    )?;
    out.counter(
        "sonorancad_emergency_calls_opened_total",
        "Emergency and civil calls that appeared after the exporter's first look.",
        by_kind(servers, Lifecycles::emergency_opened),
    )?;
    out.counter(
        "sonorancad_emergency_calls_cleared_total",
        "Emergency and civil calls that left the list: dispatched, merged, removed or expired.",
        by_kind(servers, Lifecycles::emergency_cleared),
    )?;
    out.histogram(
        "sonorancad_emergency_call_wait_seconds",
        "Time from first seen to leaving the list; calls whose coming was not seen are not in it.",
        by_kind(servers, Lifecycles::emergency_wait),
    )
}

/// How the API behaves.
fn encode_api(servers: &[ServerReport], out: &mut Dialect) -> fmt::Result {
    out.counter(
        "sonorancad_api_requests_total",
        "Requests to the API, failed connections included.",
        servers.iter().map(|server| {
            (
                [("server_id", &*server.id), ("endpoint", CALLS)],
                server.counts.requests,
            )
        }),
    )?;
    out.counter(
        "sonorancad_api_errors_total",
        "Failed requests to the API, by the API's own error string or a fixed name.",
        servers.iter().flat_map(|server| {
            server.counts.errors.iter().map(move |(error, count)| {
                (
                    [("server_id", &*server.id), ("endpoint", CALLS), ("error", &**error)],
                    *count,
                )
            })
        }),
    )?;
    out.histogram(
        "sonorancad_api_request_duration_seconds",
        "Time from asking the API to having read its answer, failures included.",
        servers.iter().map(|server| {
            (
                [("server_id", &*server.id), ("endpoint", CALLS)],
                &server.counts.request_seconds,
            )
        }),
    )?;
    out.gauge(
        "sonorancad_api_retry_timestamp_seconds",
        "Before this Unix time the API is not asked again, after a rate limit or failures; 0 without such a wait.",
        each(servers, |server| timestamp(server.retry_at)),
    )
}

/// How the cache works.
fn encode_cache(servers: &[ServerReport], out: &mut Dialect) -> fmt::Result {
    out.counter(
        "sonorancad_cache_queries_total",
        "Scrapes that asked for this server.",
        each(servers, |server| server.counts.queries),
    )?;
    out.counter(
        "sonorancad_cache_hits_total",
        "Scrapes that were answered at once from an answer younger than the TTL.",
        each(servers, |server| server.counts.hits),
    )?;
    out.gauge(
        "sonorancad_cache_ttl_seconds",
        "How long an answer counts as fresh: the configured TTL, or longer where the request budget asks for it.",
        each(servers, |server| server.ttl.as_secs_f64()),
    )?;
    out.info(
        "sonorancad_server_info",
        "The server's name in the exporter's configuration.",
        servers
            .iter()
            .filter_map(|server| Some([("server_id", &*server.id), ("name", server.name.as_deref()?)])),
    )
}

/// The exporter itself.
fn encode_exporter(exporter: &ExporterReport, out: &mut Dialect) -> fmt::Result {
    let process = exporter.process.as_ref();
    out.info(
        "sonorancad_exporter_build_info",
        "The exporter's version and the revision of its source.",
        [[("version", VERSION), ("revision", REVISION)]],
    )?;
    out.gauge(
        "sonorancad_config_last_reload_successful",
        "Whether the configuration that was read last is in use (1), or an earlier one (0).",
        [([], u64::from(exporter.is_reload_successful))],
    )?;
    out.counter(
        "sonorancad_exporter_panics_total",
        "Requests to the exporter that met a fault in it, and got status 500.",
        [([], exporter.panics)],
    )?;
    let of_process = |read: fn(&Process) -> f64| process.map(|process| ([], read(process)));
    out.counter(
        "process_cpu_seconds_total",
        "CPU time the exporter spent in user and system mode.",
        of_process(|process| process.cpu_seconds),
    )?;
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the exporter.",
        process.map(|process| ([], process.resident_memory_bytes)),
    )?;
    out.gauge(
        "process_open_fds",
        "File descriptors the exporter has open.",
        process.map(|process| ([], process.open_fds)),
    )?;
    out.gauge(
        "process_max_fds",
        "File descriptors the exporter may have open.",
        process.and_then(|process| Some(([], process.max_fds?))),
    )?;
    out.gauge(
        "process_start_time_seconds",
        "When the exporter started, in Unix time.",
        of_process(|process| process.start_time_seconds),
    )
}

/// One sample for each server.
fn each<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a ServerReport) -> V,
) -> impl Iterator<Item = (Labels<'a, 1>, V)> {
    servers
        .iter()
        .map(move |server| ([("server_id", &*server.id)], value(server)))
}

/// The servers of which something recent is known.
fn snapshots(servers: &[ServerReport]) -> impl Iterator<Item = (&str, &Snapshot)> {
    servers
        .iter()
        .filter_map(|server| Some((&*server.id, server.snapshot.as_deref()?)))
}

/// How calls come and go on these servers.
fn lifecycles(servers: &[ServerReport]) -> impl Iterator<Item = (&str, &Lifecycles)> {
    let recent = servers.iter().filter(|server| server.snapshot.is_some());
    recent.map(|server| (&*server.id, &server.lifecycles))
}

/// Every known combination of labels, and those with "other" that occur.
fn active_calls<'a>(id: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = (Labels<'a, 4>, u64)> {
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

fn emergency_calls<'a>(id: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = (Labels<'a, 2>, u64)> {
    EmergencyKind::ALL.iter().map(move |kind| {
        let labels = [("server_id", id), ("kind", kind.label())];
        (labels, snapshot.emergency.count(*kind))
    })
}

/// Every known priority, and "other" when it occurs.
fn unassigned_calls<'a>(id: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = (Labels<'a, 2>, u64)> {
    let counts = Priority::ALL.iter().map(move |priority| {
        let labels = [("server_id", id), ("priority", priority.label())];
        (labels, snapshot.active.unassigned(*priority))
    });
    counts.filter(|([_, (_, priority)], count)| *priority != OTHER || *count > 0)
}

/// Every known priority, and "other" when such a call is pending.
fn oldest_pending_calls<'a>(id: &'a str, lifecycles: &'a Lifecycles) -> impl Iterator<Item = (Labels<'a, 2>, f64)> {
    Priority::ALL.iter().filter_map(move |priority| {
        let since = lifecycles.oldest_pending(*priority);
        let labels = [("server_id", id), ("priority", priority.label())];
        (priority.label() != OTHER || since.is_some()).then(|| (labels, point_in_time(since)))
    })
}

fn oldest_emergency_calls<'a>(id: &'a str, lifecycles: &'a Lifecycles) -> impl Iterator<Item = (Labels<'a, 2>, f64)> {
    EmergencyKind::ALL.iter().map(move |kind| {
        let labels = [("server_id", id), ("kind", kind.label())];
        (labels, point_in_time(lifecycles.oldest_emergency(*kind)))
    })
}

fn by_priority_and_origin(
    servers: &[ServerReport],
    count: fn(&Lifecycles, Priority, Origin) -> u64,
) -> impl Iterator<Item = (Labels<'_, 3>, u64)> {
    let origins = |priority| Origin::ALL.iter().map(move |origin| (priority, origin));
    servers.iter().flat_map(move |server| {
        Priority::ALL.iter().flat_map(origins).map(move |(priority, origin)| {
            let labels = [
                ("server_id", &*server.id),
                ("priority", priority.label()),
                ("origin", origin.label()),
            ];
            (labels, count(&server.lifecycles, *priority, *origin))
        })
    })
}

fn by_priority(
    servers: &[ServerReport],
    histogram: fn(&Lifecycles, Priority) -> &Histogram,
) -> impl Iterator<Item = (Labels<'_, 2>, &Histogram)> {
    servers.iter().flat_map(move |server| {
        Priority::ALL.iter().map(move |priority| {
            let labels = [("server_id", &*server.id), ("priority", priority.label())];
            (labels, histogram(&server.lifecycles, *priority))
        })
    })
}

fn by_kind<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a Lifecycles, EmergencyKind) -> V + Copy,
) -> impl Iterator<Item = (Labels<'a, 2>, V)> {
    servers.iter().flat_map(move |server| {
        EmergencyKind::ALL.iter().map(move |kind| {
            let labels = [("server_id", &*server.id), ("kind", kind.label())];
            (labels, value(&server.lifecycles, *kind))
        })
    })
}

/// A moment as a Unix time; 0 for none.
fn point_in_time(moment: Option<Now>) -> f64 {
    timestamp(moment.map(|moment| moment.unix))
}

/// A Unix time in seconds, to the millisecond; 0 for none.
fn timestamp(unix: Option<Duration>) -> f64 {
    unix.map_or(0.0, |unix| (unix.as_secs_f64() * 1000.0).round() / 1000.0)
}
