//! The units of a server, on the status page.

use maud::{Markup, html};

use super::number;
use crate::label::OTHER;
use crate::snapshot::{Discipline, UnitCounts, UnitStatus};

/// Units by discipline and status, dispatchers, and a panic in red.
pub(super) fn render(counts: &UnitCounts, is_truncated: bool) -> Markup {
    html! {
        @if counts.in_panic > 0 {
            p.alarm { strong { "Panic: " (counts.in_panic) @if counts.in_panic == 1 { " unit" } @else { " units" } } }
        }
        dl.numbers {
            (number("Units on duty", counts.all(), is_truncated.then(|| "or more".to_owned())))
            (number("Available", counts.of_status(UnitStatus::Available), None))
            (number("Dispatchers", counts.dispatchers, None))
        }
        @if counts.all() > 0 { (render_table(counts)) }
    }
}

/// Units by discipline and status. Unusual values are shown only if there are such units.
fn render_table(counts: &UnitCounts) -> Markup {
    let statuses = || {
        let all = UnitStatus::ALL.iter();
        all.filter(|status| status.label() != OTHER || counts.of_status(**status) > 0)
    };
    let of_discipline = |discipline: Discipline| counts.units[discipline].values().sum::<u64>();
    let disciplines = Discipline::ALL.iter();
    let disciplines = disciplines.filter(|discipline| discipline.label() != OTHER || of_discipline(**discipline) > 0);
    html! {
        table {
            caption { "Units by discipline and status" }
            thead {
                tr {
                    th scope="col" { "Discipline" }
                    @for status in statuses() { th scope="col" { (status_name(*status)) } }
                }
            }
            tbody {
                @for discipline in disciplines {
                    tr {
                        th scope="row" { (discipline_name(*discipline)) }
                        @for status in statuses() {
                            @let count = counts.units[*discipline][*status];
                            td class=[(count == 0).then_some("zero")] { (count) }
                        }
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
