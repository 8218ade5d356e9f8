//! What one fetch said, as plain numbers: calls by priority, status and origin, and which calls.
//!
//! Nothing here knows HTTP, JSON or Prometheus, and nothing here is personal.

mod sightings;

use std::collections::HashSet;

pub use self::sightings::Sightings;

/// More different units than this are not told apart: they are kept for every server as long as its snapshot is
/// shown, and no answer may fill the memory.
const MOST_UNITS: usize = 10_000;

/// Declares an enum whose variants are all the values of one label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of exposition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value as a label shows it.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

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
        /// Nobody has taken it.
        Pending = "pending",
        /// Somebody works on it.
        Active = "active",
        /// Done; the list of active calls can hold such a call for a moment.
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
        /// Somebody who walked up.
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
    Unreadable {
        /// A priority that is missing, or no number from 1 to 3 and no text.
        Priority = "priority",
        /// A status that is missing or unknown.
        Status = "status",
        /// An origin that is missing or unknown.
        Origin = "origin",
        /// An item that is no object, or an emergency call of unknown kind.
        Call = "call",
    }
}

/// What one fetch said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The CAD's list of active calls, pending ones included.
    pub active: ActiveCalls,
    /// The calls that wait for a dispatcher.
    pub emergency: EmergencyCalls,
    /// The newest closed calls, as many as were asked for.
    pub closed: Sightings<DispatchCall>,
    /// How many closed calls the CAD keeps; only version v2 of the API says it.
    pub closed_stored: Option<u64>,
}

/// A dispatch call that has an id, by which other answers know it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchCall {
    /// Its id, above 0.
    pub id: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    pub status: Status,
    /// How it came in.
    pub origin: Origin,
}

/// A call for a dispatcher that has an id, by which other answers know it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmergencyCall {
    /// Its id, above 0; dispatch calls have ids of their own.
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
    /// Whether any unit is attached.
    pub assigned: bool,
    /// The attached units' identifiers, as far as they are numbers.
    pub units: Vec<i64>,
}

/// The dispatch calls of one list, counted; empty by default, as one that the answer lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActiveCalls {
    /// By priority, status and origin.
    counts: [[[u64; 5]; 4]; 4],
    /// Open calls without a unit, by priority.
    unassigned: [u64; 4],
    /// The units of open calls.
    units: HashSet<i64>,
    unreadable: [u64; 4],
    sightings: Sightings<DispatchCall>,
}

/// The emergency calls of one list, counted; empty by default, as one that the answer lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmergencyCalls {
    counts: [u64; 2],
    unreadable: u64,
    sightings: Sightings<EmergencyCall>,
}

impl Snapshot {
    /// How many values of this kind could not be read.
    #[must_use]
    pub fn unreadable(&self, what: Unreadable) -> u64 {
        let emergency = match what {
            Unreadable::Call => self.emergency.unreadable,
            Unreadable::Priority | Unreadable::Status | Unreadable::Origin => 0,
        };
        self.active.unreadable[what as usize] + emergency
    }
}

impl Status {
    /// Whether such a call still needs somebody.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

impl ActiveCalls {
    /// An empty list.
    #[must_use]
    pub fn listed() -> Self {
        Self {
            sightings: Sightings::listed(),
            ..Self::default()
        }
    }

    /// Counts one call.
    pub fn add(&mut self, call: &Call) {
        self.sightings.extend(call.sighting());
        self.counts[call.priority as usize][call.status as usize][call.origin as usize] += 1;
        if !call.status.is_open() {
            return;
        }
        if !call.assigned {
            self.unassigned[call.priority as usize] += 1;
        }
        for unit in &call.units {
            if self.units.len() < MOST_UNITS {
                self.units.insert(*unit);
            }
        }
    }

    /// Notes a value or item that could not be read.
    pub fn add_unreadable(&mut self, what: Unreadable) {
        self.unreadable[what as usize] += 1;
    }

    /// Calls of this priority, status and origin.
    #[must_use]
    pub fn count(&self, priority: Priority, status: Status, origin: Origin) -> u64 {
        self.counts[priority as usize][status as usize][origin as usize]
    }

    /// Calls of this priority and status, of any origin.
    #[must_use]
    pub fn by_status(&self, priority: Priority, status: Status) -> u64 {
        self.counts[priority as usize][status as usize].iter().sum()
    }

    /// Open calls of this priority with no unit attached.
    #[must_use]
    pub fn unassigned(&self, priority: Priority) -> u64 {
        self.unassigned[priority as usize]
    }

    /// Different units attached to open calls; counted up to 10,000, and 1,000 of one call.
    #[must_use]
    pub fn attached_units(&self) -> u64 {
        self.units.len() as u64
    }

    /// The calls one by one.
    #[must_use]
    pub fn sightings(&self) -> &Sightings<DispatchCall> {
        &self.sightings
    }
}

impl Call {
    /// What other answers know it by, if it has an id.
    #[must_use]
    pub fn sighting(&self) -> Option<DispatchCall> {
        Some(DispatchCall {
            id: self.id?,
            priority: self.priority,
            status: self.status,
            origin: self.origin,
        })
    }
}

impl EmergencyCalls {
    /// An empty list.
    #[must_use]
    pub fn listed() -> Self {
        Self {
            sightings: Sightings::listed(),
            ..Self::default()
        }
    }

    /// Counts one call, which may have an id.
    pub fn add(&mut self, id: Option<u64>, kind: EmergencyKind) {
        self.counts[kind as usize] += 1;
        self.sightings.extend(id.map(|id| EmergencyCall { id, kind }));
    }

    /// Notes an item, or its kind, that could not be read.
    pub fn add_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Calls of this kind.
    #[must_use]
    pub fn count(&self, kind: EmergencyKind) -> u64 {
        self.counts[kind as usize]
    }

    /// The calls one by one.
    #[must_use]
    pub fn sightings(&self) -> &Sightings<EmergencyCall> {
        &self.sightings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: Status, units: &[i64]) -> Call {
        Call {
            id: None,
            priority: Priority::Two,
            status,
            origin: Origin::Caller,
            assigned: !units.is_empty(),
            units: units.to_vec(),
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
    fn units_beyond_the_bound_are_not_kept() {
        let mut active = ActiveCalls::default();
        let units: Vec<i64> = (0..15_000).collect();
        active.add(&call(Status::Active, &units));
        assert_eq!(active.attached_units(), 10_000);
    }
}
