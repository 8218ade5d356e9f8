//! Units on duty, as one answer lists them.

use std::collections::HashSet;

use enum_map::EnumMap;
use serde::{Deserialize, Serialize};

use crate::label::{TextCounts, TextIndex, TextSet, label_values};

/// More units than this are counted but not followed, so that no answer can fill the memory. A real CAD has tens of them.
const MAX_UNITS: usize = 10_000;

label_values! {
    /// What a unit belongs to: the page of the CAD on which it is on duty.
    Discipline {
        /// Law enforcement.
        Police = "police",
        /// Fire brigade.
        Fire = "fire",
        /// Emergency medical service.
        Ems = "ems",
        /// An unknown page, or none: old answers do not have it.
        Other = "other",
    }
}

label_values! {
    /// What a unit does. Communities rename these, but their numbers stay the same.
    UnitStatus {
        /// Not to be sent anywhere.
        Unavailable = "unavailable",
        /// Busy with something.
        Busy = "busy",
        /// Free.
        Available = "available",
        /// On the way to a call.
        EnRoute = "enroute",
        /// At a call.
        OnScene = "on_scene",
        /// A value that could not be read.
        Other = "other",
    }
}

/// What one answer said of the units on duty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitSnapshot {
    counts: UnitCounts,
    /// One by one, in the order of the answer; `None` if there are too many to follow.
    units: Option<Vec<Unit>>,
    /// How many rows the answer had, with those that are not on duty or cannot be read.
    rows: u64,
}

/// A unit or a dispatcher on duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its id, if it has a usable one.
    pub id: Option<u64>,
    /// `None` for a dispatcher.
    pub discipline: Option<Discipline>,
    /// What it does.
    pub status: UnitStatus,
    /// Whether its panic button is pressed.
    pub is_in_panic: bool,
    /// Its department among those that are counted one by one.
    pub department: TextIndex,
}

/// How many units there are of each kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitCounts {
    /// Units, without dispatchers.
    pub units: EnumMap<Discipline, EnumMap<UnitStatus, u64>>,
    /// Dispatchers.
    pub dispatchers: u64,
    /// Units and dispatchers whose panic button is pressed.
    pub in_panic: u64,
    /// Units by department, without dispatchers.
    pub departments: TextCounts,
}

impl UnitSnapshot {
    /// A list without units; `departments` are counted one by one.
    #[must_use]
    pub fn empty(departments: &TextSet) -> Self {
        Self {
            counts: UnitCounts {
                units: EnumMap::default(),
                dispatchers: 0,
                in_panic: 0,
                departments: TextCounts::new(departments),
            },
            units: Some(Vec::new()),
            rows: 0,
        }
    }

    /// Adds a row of the answer; `None` if it is not on duty or cannot be read.
    pub fn add(&mut self, unit: Option<Unit>) {
        self.rows += 1;
        if let Some(unit) = unit {
            self.counts.add(&unit);
            if let Some(units) = &mut self.units {
                units.push(unit);
                self.limit(MAX_UNITS);
            }
        }
    }

    /// Adds the units of the next page. Returns whether it has any that this one lacks: an API that ignores which page is
    /// asked for sends the same one again. Units that this one has are ignored, since they move to the next page when
    /// others sign on meanwhile.
    pub fn append(&mut self, page: Self) -> bool {
        let (Some(units), Some(page)) = (&self.units, page.units) else {
            return false;
        };
        let known: HashSet<u64> = units.iter().filter_map(|unit| unit.id).collect();
        let is_new = |unit: &Unit| unit.id.is_none_or(|id| !known.contains(&id));
        if !page.iter().any(|unit| unit.id.is_some() && is_new(unit)) {
            return false;
        }
        for unit in page.into_iter().filter(is_new) {
            self.add(Some(unit));
        }
        true
    }

    /// Forgets the units one by one if there are more than `max`. They stay counted.
    pub fn limit(&mut self, max: usize) {
        if self.units.as_ref().is_some_and(|units| units.len() > max) {
            self.units = None;
        }
    }

    /// The departments that are counted one by one.
    #[must_use]
    pub fn departments(&self) -> &TextSet {
        self.counts.departments.texts()
    }

    /// Units and dispatchers on duty, in the order of the answer; `None` if there are too many to follow.
    #[must_use]
    pub fn units(&self) -> Option<&[Unit]> {
        self.units.as_deref()
    }

    /// How many rows the answer had.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many there are of each kind.
    #[must_use]
    pub fn counts(&self) -> &UnitCounts {
        &self.counts
    }
}

impl UnitCounts {
    fn add(&mut self, unit: &Unit) {
        match unit.discipline {
            Some(discipline) => {
                self.units[discipline][unit.status] += 1;
                self.departments.add(unit.department);
            }
            None => self.dispatchers += 1,
        }
        self.in_panic += u64::from(unit.is_in_panic);
    }

    /// Units of this status, of any discipline.
    #[must_use]
    pub fn of_status(&self, status: UnitStatus) -> u64 {
        self.units.values().map(|by_status| by_status[status]).sum()
    }

    /// All units, without dispatchers.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.units.values().flat_map(EnumMap::values).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(id: u64) -> Unit {
        Unit {
            id: Some(id),
            discipline: Some(Discipline::Police),
            status: UnitStatus::Available,
            is_in_panic: false,
            department: TextSet::default().other(),
        }
    }

    fn page(ids: impl IntoIterator<Item = u64>) -> UnitSnapshot {
        let mut page = UnitSnapshot::empty(&TextSet::default());
        ids.into_iter().for_each(|id| page.add(Some(unit(id))));
        page
    }

    #[test]
    fn dispatchers_are_no_units_but_can_be_in_panic() {
        let mut snapshot = page(0..3);
        let dispatcher = Unit {
            discipline: None,
            is_in_panic: true,
            ..unit(9)
        };
        snapshot.add(Some(dispatcher));
        snapshot.add(None);
        let counts = snapshot.counts();
        assert_eq!((counts.all(), counts.dispatchers, counts.in_panic), (3, 1, 1));
        assert_eq!(counts.of_status(UnitStatus::Available), 3);
        assert_eq!(snapshot.rows(), 5);
    }

    #[test]
    fn a_page_adds_what_is_new() {
        let mut snapshot = page(0..100);
        assert!(snapshot.append(page(98..150)), "two of them moved");
        assert_eq!(snapshot.counts().all(), 150);
        assert!(!snapshot.append(page(0..100)), "the first page once more");
        assert!(!snapshot.append(page([])));
        assert_eq!(snapshot.counts().all(), 150);
    }

    #[test]
    fn too_many_units_are_counted_but_not_followed() {
        let mut snapshot = page(0..10_000);
        assert_eq!(snapshot.units().map(<[_]>::len), Some(10_000));
        snapshot.add(Some(unit(10_000)));
        assert!(snapshot.units().is_none());
        assert_eq!(snapshot.counts().all(), 10_001);
    }
}
