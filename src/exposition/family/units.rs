//! Units on duty: what the snapshots contain, and what was counted from one to the next.

use std::fmt;

use enum_map::EnumMap;

use crate::exposition::encoder::{Encoder, Labels};
use crate::label::OTHER;
use crate::report::{FeedReport, ServerReport};
use crate::snapshot::{Discipline, UnitCounts, UnitSnapshot, UnitStatus};
use crate::tracker::UnitStats;

/// The units of one server.
type UnitReport = FeedReport<UnitSnapshot, UnitStats>;

/// Writes the families of units, for the servers whose units are read.
pub(super) fn encode(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_units_up",
        "Whether the newest request for units succeeded and its answer is recent enough to be shown (1), or not (0).",
        reports(servers).map(|(id, report)| ([("server_id", id)], u64::from(report.status.is_up))),
    )?;
    encode_list(servers, out)?;
    out.counter(
        "sonorancad_units_signed_on_total",
        "Units that appeared after the first answer of the API, without dispatchers.",
        by_discipline(servers, |stats| &stats.signed_on),
    )?;
    out.counter(
        "sonorancad_units_signed_off_total",
        "Units that left the list, by the discipline in which they appeared.",
        by_discipline(servers, |stats| &stats.signed_off),
    )
}

/// What the lists of the newest snapshots contain. Absent while nothing recent is known.
fn encode_list(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    let counts = || {
        reports(servers)
            .filter_map(|(id, report)| Some((id, report.snapshot.as_ref()?.counts(), report.stats.is_truncated)))
    };
    out.gauge(
        "sonorancad_units",
        "Units on duty, without dispatchers, as cached.",
        counts().flat_map(|(id, counts, _)| units(id, counts)),
    )?;
    out.gauge(
        "sonorancad_dispatchers",
        "Dispatchers on duty, as cached.",
        counts().map(|(id, counts, _)| ([("server_id", id)], counts.dispatchers)),
    )?;
    out.gauge(
        "sonorancad_units_in_panic",
        "Units whose panic button is pressed, as cached.",
        counts().map(|(id, counts, _)| ([("server_id", id)], counts.in_panic)),
    )?;
    out.gauge(
        "sonorancad_department_units",
        "Units on duty by department, without dispatchers, as cached; only with SONORANCAD_DEPARTMENTS.",
        counts().flat_map(|(id, counts, _)| {
            let departments = counts.departments.iter();
            departments.map(move |(department, count)| ([("server_id", id), ("department", department)], count))
        }),
    )?;
    out.gauge(
        "sonorancad_units_truncated",
        "Whether the cached answer had as many units as were asked for, so that there may be more (1), or not (0).",
        counts().map(|(id, _, is_truncated)| ([("server_id", id)], u64::from(is_truncated))),
    )
}

/// Every known combination of labels, and those with "other" that occur.
fn units<'a>(id: &'a str, counts: &'a UnitCounts) -> impl Iterator<Item = (Labels<'a, 3>, u64)> {
    let combinations = Discipline::ALL
        .iter()
        .flat_map(|discipline| UnitStatus::ALL.iter().map(move |status| (discipline, status)));
    combinations
        .map(move |(discipline, status)| {
            let labels = [
                ("server_id", id),
                ("discipline", discipline.label()),
                ("status", status.label()),
            ];
            (labels, counts.units[*discipline][*status])
        })
        .filter(|([_, labels @ ..], count)| *count > 0 || labels.iter().all(|(_, value)| *value != OTHER))
}

fn by_discipline(
    servers: &[ServerReport],
    count: fn(&UnitStats) -> &EnumMap<Discipline, u64>,
) -> impl Iterator<Item = (Labels<'_, 2>, u64)> {
    let counting = reports(servers).filter(|(_, report)| !report.status.is_behind);
    counting.flat_map(move |(id, report)| {
        Discipline::ALL.iter().map(move |discipline| {
            let labels = [("server_id", id), ("discipline", discipline.label())];
            (labels, count(&report.stats)[*discipline])
        })
    })
}

/// The servers whose units are read.
fn reports(servers: &[ServerReport]) -> impl Iterator<Item = (&str, &UnitReport)> {
    servers
        .iter()
        .filter_map(|server| Some((&*server.id, server.units.as_ref()?)))
}
