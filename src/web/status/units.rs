//! The units of a server, on the status page.

use maud::{Markup, html};

use super::words::{cell, number};
use crate::label::OTHER;
use crate::snapshot::{Discipline, UnitCounts, UnitStatus};

/// Units, those that are free, dispatchers, and a table by status and discipline.
pub(super) fn render(counts: &UnitCounts, is_truncated: bool) -> Markup {
    html! {
        div {
            h3 { "Units on duty" }
            dl.numbers {
                (number("Units", counts.all(), if is_truncated { "or more" } else { "" }))
                (number("Available", counts.of_status(UnitStatus::Available), ""))
                (number("Dispatchers", counts.dispatchers, ""))
            }
            @if counts.all() > 0 { (render_table(counts)) }
        }
    }
}

/// A row for each status, so that it fits a phone. Unusual values are shown only if there are such units.
fn render_table(counts: &UnitCounts) -> Markup {
    let statuses = UnitStatus::ALL.iter();
    let statuses = statuses.filter(|status| status.label() != OTHER || counts.of_status(**status) > 0);
    let of_discipline = |discipline: Discipline| counts.units[discipline].values().sum::<u64>();
    let disciplines = || {
        let all = Discipline::ALL.iter();
        all.filter(|discipline| discipline.label() != OTHER || of_discipline(**discipline) > 0)
    };
    html! {
        table {
            caption { "Units by status" }
            thead {
                tr {
                    th scope="col" { "Status" }
                    @for discipline in disciplines() { th scope="col" { (discipline_name(*discipline)) } }
                }
            }
            tbody {
                @for status in statuses {
                    tr {
                        th scope="row" { (status_name(*status)) }
                        @for discipline in disciplines() { (cell(counts.units[*discipline][*status])) }
                    }
                }
            }
        }
    }
}

fn discipline_name(discipline: Discipline) -> &'static str {
    match discipline {
        Discipline::Police => "Police",
        Discipline::Fire => "Fire",
        Discipline::Ems => "EMS",
        Discipline::Other => "Other",
    }
}

fn status_name(status: UnitStatus) -> &'static str {
    match status {
        UnitStatus::Unavailable => "unavailable",
        UnitStatus::Busy => "busy",
        UnitStatus::Available => "available",
        UnitStatus::EnRoute => "en route",
        UnitStatus::OnScene => "on scene",
        UnitStatus::Other => "other",
    }
}
