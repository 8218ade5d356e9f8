//! Compares lists of units by id: which signed on and off.
//!
//! The rules are those of calls: the first list only seeds, and a unit has signed off when it is absent from two consecutive
//! lists. A list that is not complete says nothing. Unlike a call, a unit that comes back has signed on once more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use serde::{Deserialize, Serialize};

use super::Track;
use crate::config::LabelTexts;
use crate::label::TextCounts;
use crate::snapshot::{Discipline, Unit, UnitSnapshot};

/// How many rows are asked for at once: the most that the API returns.
pub const UNITS_PER_PAGE: u32 = 100;

/// Follows the units of one server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UnitTracker {
    /// The units that were in the newest list or in the one before, by id; `None` before the first list.
    on_duty: Option<BTreeMap<u64, OnDuty>>,
    stats: UnitStats,
}

/// A unit that has not signed off.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct OnDuty {
    /// When it signed on.
    discipline: Discipline,
    /// Whether the newest list lacks it.
    is_missing: bool,
}

/// What a request for units asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitQuery {
    /// How many rows to leave out: those of the pages before.
    pub offset: u32,
}

/// How units come and go, as far as the answers show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitStats {
    /// Units that appeared, by discipline.
    pub signed_on: EnumMap<Discipline, u64>,
    /// Units that left, by the discipline in which they appeared.
    pub signed_off: EnumMap<Discipline, u64>,
    /// Whether the newest answer may lack units.
    pub is_truncated: bool,
}

impl Track for UnitTracker {
    type Snapshot = UnitSnapshot;
    type Query = UnitQuery;
    type Stats = UnitStats;

    fn new(_: Duration, _: &LabelTexts) -> Self {
        Self::default()
    }

    /// No time is measured, and nothing is remembered of what is gone.
    fn set_limits(&mut self, _: Duration, _: usize) {}

    fn query(&self, _: Instant) -> UnitQuery {
        UnitQuery { offset: 0 }
    }

    /// Asks for more after a full page. A longer one shows that the API ignores the limit, and has sent everything.
    fn next_query(&self, page: &UnitSnapshot, query: UnitQuery) -> Option<UnitQuery> {
        (page.rows() == u64::from(UNITS_PER_PAGE)).then_some(UnitQuery {
            offset: query.offset + UNITS_PER_PAGE,
        })
    }

    fn append(snapshot: &mut UnitSnapshot, page: UnitSnapshot) -> bool {
        snapshot.append(page)
    }

    fn limit(snapshot: &mut UnitSnapshot, max_ids: usize) {
        snapshot.limit(max_ids);
    }

    fn observe(&mut self, snapshot: &UnitSnapshot, is_complete: bool, _: Instant) {
        self.stats.is_truncated = !is_complete;
        let Some(units) = snapshot.units().filter(|_| is_complete) else {
            return;
        };
        let (present, shared) = by_id(units);
        let Some(on_duty) = &mut self.on_duty else {
            self.on_duty = Some(present);
            return;
        };
        on_duty.retain(|id, unit| {
            let is_present = present.contains_key(id) || shared.contains(id);
            let has_left = !is_present && unit.is_missing;
            unit.is_missing = !is_present;
            if has_left {
                self.stats.signed_off[unit.discipline] += 1;
            }
            !has_left
        });
        for (id, unit) in present {
            on_duty.entry(id).or_insert_with(|| {
                self.stats.signed_on[unit.discipline] += 1;
                unit
            });
        }
    }

    fn stats(&self) -> &UnitStats {
        &self.stats
    }

    fn fits(&self, snapshot: Option<&UnitSnapshot>, labels: &LabelTexts) -> bool {
        let empty = TextCounts::new(&labels.departments);
        snapshot.is_none_or(|snapshot| snapshot.counts().departments.has_texts_of(&empty))
    }
}

/// The units with an id of their own, and the ids that several rows share. Dispatchers are none.
fn by_id(units: &[Unit]) -> (BTreeMap<u64, OnDuty>, BTreeSet<u64>) {
    let mut present = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for unit in units {
        if let (Some(id), Some(discipline)) = (unit.id, unit.discipline) {
            let on_duty = OnDuty {
                discipline,
                is_missing: false,
            };
            if present.insert(id, on_duty).is_some() {
                shared.insert(id);
            }
        }
    }
    present.retain(|id, _| !shared.contains(id));
    (present, shared)
}

#[cfg(test)]
mod tests;
