//! An answer of the endpoint `calls`: dispatch and emergency calls, counted and one by one.

use enum_map::EnumMap;
use serde::{Deserialize, Serialize};

use super::identified::{Identified, IdentifiedCalls};
use crate::label::{TextIndex, label_values};

/// Distinct units beyond this number are not counted, so that no answer can fill the memory: the units of every
/// server are kept as long as its snapshot is shown.
const MAX_UNITS: usize = 10_000;

label_values! {
    /// How urgent a dispatch call is.
    Priority {
        /// The most urgent.
        One = "1",
        /// In between.
        Two = "2",
        /// The least urgent.
        Three = "3",
        /// A text of a custom layout, or a value that could not be read.
        Other = "other",
    }
}

label_values! {
    /// Where a dispatch call stands.
    Status {
        /// Waiting for a unit to take it.
        Pending = "pending",
        /// Being worked on.
        Active = "active",
        /// Closed; the list of active calls can contain such a call for a moment.
        Closed = "closed",
        /// A value that could not be read.
        Other = "other",
    }
}

label_values! {
    /// How a dispatch call came in.
    Origin {
        /// A caller.
        Caller = "caller",
        /// A unit, by radio.
        RadioDispatch = "radio_dispatch",
        /// A unit that saw it.
        Observed = "observed",
        /// A person who walked up.
        WalkUp = "walk_up",
        /// A value that could not be read.
        Other = "other",
    }
}

label_values! {
    /// What a call that waits for a dispatcher is about.
    EmergencyKind {
        /// 911.
        Emergency = "emergency",
        /// 311, 511 and the like.
        Civil = "civil",
    }
}

label_values! {
    /// What could not be read.
    UnreadableField {
        /// A priority that is missing, or neither a number from 1 to 3 nor a text.
        Priority = "priority",
        /// A status that is missing or unknown.
        Status = "status",
        /// An origin that is missing or unknown.
        Origin = "origin",
        /// An item that is not an object, or an emergency call of unknown kind.
        Call = "call",
        /// An id that is missing, not a whole number from 0, or that several calls of the list share. Such a call is
        /// counted but cannot be followed.
        Id = "id",
        /// Attached units that are not a list of whole numbers.
        Units = "units",
    }
}

/// What one answer said of a server's calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallSnapshot {
    /// The CAD's list of active calls, pending ones included.
    pub active: ActiveCalls,
    /// The calls that wait for a dispatcher.
    pub emergency: EmergencyCalls,
    /// The newest closed calls, at most as many as were requested.
    pub closed: IdentifiedCalls<DispatchCall>,
    /// How many closed calls the CAD keeps; only version v2 of the API reports it.
    pub closed_stored: Option<u64>,
}

/// A dispatch call with an id, which identifies it in other answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchCall {
    /// Its id.
    pub id: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    pub status: Status,
    /// How it came in.
    pub origin: Origin,
    /// The id of the emergency call that it was made from, above 0, if there was one.
    pub made_from: Option<u64>,
    /// Its code among those that are counted one by one.
    pub code: TextIndex,
}

/// An emergency call with an id, which identifies it in other answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyCall {
    /// Its id; dispatch calls have ids of their own.
    pub id: u64,
    /// What it is about.
    pub kind: EmergencyKind,
}

/// One dispatch call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its id, if it has a usable one.
    pub id: Option<u64>,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    pub status: Status,
    /// How it came in.
    pub origin: Origin,
    /// Whether any unit is attached; `None` if that cannot be read.
    pub assigned: Option<bool>,
    /// The attached units' identifiers, as far as they are numbers.
    pub units: Vec<i64>,
    /// The id of the emergency call that it was made from, above 0, if there was one.
    pub made_from: Option<u64>,
    /// Its code among those that are counted one by one.
    pub code: TextIndex,
}

/// The dispatch calls of one list, counted. The default stands for a list that the answer lacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveCalls {
    counts: EnumMap<Priority, EnumMap<Status, EnumMap<Origin, u64>>>,
    /// Open calls without a unit.
    unassigned: EnumMap<Priority, u64>,
    /// The units of open calls in order, while they are being counted.
    units: Vec<i64>,
    /// How many there are, afterwards.
    attached_units: u64,
    unreadable: EnumMap<UnreadableField, u64>,
    identified: IdentifiedCalls<DispatchCall>,
}

/// The emergency calls of one list, counted. The default stands for a list that the answer lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyCalls {
    counts: EnumMap<EmergencyKind, u64>,
    unreadable: u64,
    without_id: u64,
    identified: IdentifiedCalls<EmergencyCall>,
}

impl CallSnapshot {
    /// How many values of this field could not be read.
    #[must_use]
    pub fn unreadable(&self, field: UnreadableField) -> u64 {
        let of_lists = match field {
            UnreadableField::Call => self.emergency.unreadable,
            UnreadableField::Id => {
                let ambiguous = self.active.identified.ambiguous() + self.emergency.identified.ambiguous();
                self.emergency.without_id + ambiguous
            }
            UnreadableField::Priority | UnreadableField::Status | UnreadableField::Origin | UnreadableField::Units => 0,
        };
        self.active.unreadable[field] + of_lists
    }

    /// Forgets the calls one by one in the lists that have more than `max`, and the units. They stay counted.
    pub fn limit(&mut self, max: usize) {
        self.active.attached_units = self.active.attached_units();
        self.active.units = Vec::new();
        self.active.identified.limit(max);
        self.emergency.identified.limit(max);
        self.closed.limit(max);
    }

    /// The dispatch calls that have an id, active and closed ones.
    pub fn dispatch_calls(&self) -> impl Iterator<Item = &DispatchCall> {
        let lists = [&self.active.identified, &self.closed];
        lists.into_iter().filter_map(IdentifiedCalls::calls).flatten()
    }
}

impl Identified for DispatchCall {
    fn id(&self) -> u64 {
        self.id
    }
}

impl Identified for EmergencyCall {
    fn id(&self) -> u64 {
        self.id
    }
}

impl Status {
    /// Whether such a call still needs a unit.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

impl ActiveCalls {
    /// A list without calls.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            identified: IdentifiedCalls::empty(),
            ..Self::default()
        }
    }

    /// Counts one call.
    pub fn add(&mut self, call: &Call) {
        match call.identified() {
            Some(call) => self.identified.push_or_forget(call),
            None => self.unreadable[UnreadableField::Id] += 1,
        }
        self.counts[call.priority][call.status][call.origin] += 1;
        if !call.status.is_open() {
            return;
        }
        if call.assigned == Some(false) {
            self.unassigned[call.priority] += 1;
        }
        for unit in &call.units {
            // A real CAD has tens of units: finding one in order is quicker than hashing it.
            if self.units.len() < MAX_UNITS
                && let Err(place) = self.units.binary_search(unit)
            {
                self.units.insert(place, *unit);
            }
        }
    }

    /// Counts a value or an item that could not be read.
    pub fn add_unreadable(&mut self, field: UnreadableField) {
        self.unreadable[field] += 1;
    }

    /// Calls of this priority, status and origin.
    #[must_use]
    pub fn count(&self, priority: Priority, status: Status, origin: Origin) -> u64 {
        self.counts[priority][status][origin]
    }

    /// Calls of this priority and status, of any origin.
    #[must_use]
    pub fn by_status(&self, priority: Priority, status: Status) -> u64 {
        self.counts[priority][status].values().sum()
    }

    /// Calls of this status, of any priority and origin.
    #[must_use]
    pub fn with_status(&self, status: Status) -> u64 {
        Priority::ALL
            .iter()
            .map(|priority| self.by_status(*priority, status))
            .sum()
    }

    /// Open calls of this priority with no unit attached.
    #[must_use]
    pub fn unassigned(&self, priority: Priority) -> u64 {
        self.unassigned[priority]
    }

    /// Distinct units attached to open calls; counted up to 10,000 in all and 1,000 per call.
    #[must_use]
    pub fn attached_units(&self) -> u64 {
        self.attached_units.max(self.units.len() as u64)
    }

    /// The calls one by one.
    #[must_use]
    pub fn identified(&self) -> &IdentifiedCalls<DispatchCall> {
        &self.identified
    }
}

impl Call {
    /// The part that identifies it in other answers; `None` without an id.
    #[must_use]
    pub fn identified(&self) -> Option<DispatchCall> {
        Some(DispatchCall {
            id: self.id?,
            priority: self.priority,
            status: self.status,
            origin: self.origin,
            made_from: self.made_from,
            code: self.code,
        })
    }
}

impl EmergencyCalls {
    /// A list without calls.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            identified: IdentifiedCalls::empty(),
            ..Self::default()
        }
    }

    /// Counts one call, which may have an id.
    pub fn add(&mut self, id: Option<u64>, kind: EmergencyKind) {
        self.counts[kind] += 1;
        match id {
            Some(id) => self.identified.push_or_forget(EmergencyCall { id, kind }),
            None => self.without_id += 1,
        }
    }

    /// Counts an item that could not be read, or whose kind could not.
    pub fn add_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Calls of this kind.
    #[must_use]
    pub fn count(&self, kind: EmergencyKind) -> u64 {
        self.counts[kind]
    }

    /// The calls one by one.
    #[must_use]
    pub fn identified(&self) -> &IdentifiedCalls<EmergencyCall> {
        &self.identified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::TextSet;

    fn call(status: Status, units: &[i64]) -> Call {
        Call {
            id: None,
            priority: Priority::Two,
            status,
            origin: Origin::Caller,
            assigned: Some(!units.is_empty()),
            units: units.to_vec(),
            made_from: None,
            code: TextSet::default().other(),
        }
    }

    #[test]
    fn only_open_calls_have_units_or_lack_them() {
        let mut active = ActiveCalls::default();
        active.add(&call(Status::Pending, &[]));
        active.add(&call(Status::Active, &[1, 2]));
        active.add(&call(Status::Active, &[2]));
        active.add(&call(Status::Closed, &[]));
        active.add(&call(Status::Closed, &[9]));
        active.add(&call(Status::Other, &[]));
        assert_eq!(active.unassigned(Priority::Two), 1);
        assert_eq!(active.attached_units(), 2);
        assert_eq!(active.count(Priority::Two, Status::Closed, Origin::Caller), 2);
    }

    #[test]
    fn a_call_whose_units_cannot_be_read_is_not_unassigned() {
        let mut active = ActiveCalls::default();
        active.add(&Call {
            assigned: None,
            ..call(Status::Pending, &[])
        });
        assert_eq!(active.unassigned(Priority::Two), 0);
    }

    #[test]
    fn ids_that_cannot_be_used_are_counted_in_both_lists() {
        let with_id = |id| Call {
            id,
            ..call(Status::Pending, &[])
        };
        let mut snapshot = CallSnapshot {
            active: ActiveCalls::empty(),
            emergency: EmergencyCalls::empty(),
            ..CallSnapshot::default()
        };
        for id in [None, Some(0), Some(7), Some(7), Some(7), Some(8)] {
            snapshot.active.add(&with_id(id));
        }
        for id in [None, None, Some(7), Some(9), Some(9)] {
            snapshot.emergency.add(id, EmergencyKind::Civil);
        }
        assert_eq!(snapshot.unreadable(UnreadableField::Id), 4 + 4);
    }

    #[test]
    fn units_beyond_the_bound_are_not_kept() {
        let mut active = ActiveCalls::default();
        let units: Vec<i64> = (0..15_000).collect();
        active.add(&call(Status::Active, &units));
        assert_eq!(active.attached_units(), 10_000);
    }
}
