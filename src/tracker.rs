//! Compares snapshots by call id: which calls opened and closed, and how long they waited and took.
//!
//! Pure: a snapshot and its time in, [`Lifecycles`] out. Gauges cannot tell how many calls there were,
//! since a call that comes as another goes leaves no trace in them; ids can. What cannot be known is
//! left out rather than guessed:
//!
//! - The first snapshot only seeds: its calls are known from then on, but none of them opened then.
//! - A call closes when it is found among the closed, or is absent from two answers in a row; its time
//!   is that of the first absence. A list that the answer lacks says nothing of absence.
//! - A closed call that was never seen open counts as opened and closed if it must be younger than the
//!   answers before: if its id is above all of theirs.
//! - If no id of an answer is known and all are lower than before, the CAD was wiped, and the answer
//!   seeds like the first.
//! - A call that left and returns within a day is the same call, and counts no more.
//! - A call without an id, or which shares its id with another of the same list, is not followed. Nor is
//!   a list that is longer than any CAD's: it is as one that the answer lacks.
//! - No time is observed of a call that was there before the first snapshot, or across a gap between
//!   answers of more than twice the TTL in force (and more than 90 s): when it came is not known then.

mod departed;
mod follower;

use std::time::Duration;

use self::follower::{Event, Follower, Seen};
use crate::clock::Now;
use crate::histogram::Histogram;
use crate::snapshot::{DispatchCall, EmergencyCall, EmergencyKind, Origin, Priority, Snapshot, Status};

/// Upper bounds in seconds for waits and durations; finer ones than a minute would not be true, since
/// calls are looked at no more often than once per TTL.
const CALL_SECONDS: &[f64] = &[60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];

/// A gap between answers up to this is none, however short the TTL.
const SHORTEST_GAP: Duration = Duration::from_secs(90);

/// Follows the calls of one server.
#[derive(Debug)]
pub struct Tracker {
    dispatch: Follower<(Priority, Origin)>,
    emergency: Follower<EmergencyKind>,
    lifecycles: Lifecycles,
}

/// What is known of how calls come, wait and go.
#[derive(Clone, Debug)]
pub struct Lifecycles {
    /// By priority and origin as first seen.
    opened: [[u64; 5]; 4],
    closed: [[u64; 5]; 4],
    /// By priority as last seen.
    waits: [Histogram; 4],
    durations: [Histogram; 4],
    oldest_pending: [Option<Now>; 4],
    /// By kind as first seen.
    emergency_opened: [u64; 2],
    emergency_cleared: [u64; 2],
    emergency_waits: [Histogram; 2],
    oldest_emergency: [Option<Now>; 2],
}

/// The longest time between two answers across which times are observed.
fn longest_gap(ttl: Duration) -> Duration {
    SHORTEST_GAP.max(ttl.saturating_mul(2))
}

impl Tracker {
    /// Knows of no call yet; `ttl` is the one in force.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        let longest_gap = longest_gap(ttl);
        Self {
            dispatch: Follower::new(longest_gap),
            emergency: Follower::new(longest_gap),
            lifecycles: Lifecycles::default(),
        }
    }

    /// Changes the TTL in force.
    pub fn set_ttl(&mut self, ttl: Duration) {
        self.dispatch.set_longest_gap(longest_gap(ttl));
        self.emergency.set_longest_gap(longest_gap(ttl));
    }

    /// How many closed calls the next answer should hold: 10, or 100 for the first one and after one
    /// whose closed calls were all new, behind which there may have been more.
    #[must_use]
    pub fn closed_limit(&self) -> u32 {
        self.dispatch.closed_limit()
    }

    /// Compares `snapshot`, as of `now`, with what is known.
    pub fn observe(&mut self, snapshot: &Snapshot, now: Now) {
        let active = snapshot.active.sightings().calls();
        let closed = snapshot.closed.calls();
        let list = |calls: &[DispatchCall]| calls.iter().map(Seen::from).collect();
        for event in self.dispatch.observe(active.map(list), closed.map(list), now) {
            self.lifecycles.add_dispatch(event);
        }
        self.lifecycles.oldest_pending = Default::default();
        if active.is_some() {
            for ((priority, _), since) in self.dispatch.pending() {
                keep_older(&mut self.lifecycles.oldest_pending[priority as usize], since);
            }
        }

        let waiting = snapshot.emergency.sightings().calls();
        let list = |calls: &[EmergencyCall]| calls.iter().map(Seen::from).collect();
        for event in self.emergency.observe(waiting.map(list), None, now) {
            self.lifecycles.add_emergency(event);
        }
        self.lifecycles.oldest_emergency = Default::default();
        if waiting.is_some() {
            for (kind, since) in self.emergency.pending() {
                keep_older(&mut self.lifecycles.oldest_emergency[kind as usize], since);
            }
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn lifecycles(&self) -> &Lifecycles {
        &self.lifecycles
    }
}

impl Lifecycles {
    fn add_dispatch(&mut self, event: Event<(Priority, Origin)>) {
        match event {
            Event::Opened((priority, origin)) => self.opened[priority as usize][origin as usize] += 1,
            Event::Taken {
                last: (priority, _),
                wait,
            } => self.waits[priority as usize].observe(wait),
            Event::Closed {
                first: (priority, origin),
                last: (last_priority, _),
                duration,
            } => {
                self.closed[priority as usize][origin as usize] += 1;
                if let Some(duration) = duration {
                    self.durations[last_priority as usize].observe(duration);
                }
            }
        }
    }

    fn add_emergency(&mut self, event: Event<EmergencyKind>) {
        match event {
            Event::Opened(kind) => self.emergency_opened[kind as usize] += 1,
            // It waits until it leaves the list.
            Event::Taken { .. } => {}
            Event::Closed { first, duration, .. } => {
                self.emergency_cleared[first as usize] += 1;
                if let Some(duration) = duration {
                    self.emergency_waits[first as usize].observe(duration);
                }
            }
        }
    }

    /// Dispatch calls that appeared, with this priority and origin when they were first seen.
    #[must_use]
    pub fn opened(&self, priority: Priority, origin: Origin) -> u64 {
        self.opened[priority as usize][origin as usize]
    }

    /// Dispatch calls that were closed or left the list, by the same labels.
    #[must_use]
    pub fn closed(&self, priority: Priority, origin: Origin) -> u64 {
        self.closed[priority as usize][origin as usize]
    }

    /// From first seen pending to first seen active.
    #[must_use]
    pub fn wait(&self, priority: Priority) -> &Histogram {
        &self.waits[priority as usize]
    }

    /// From first seen to closed.
    #[must_use]
    pub fn duration(&self, priority: Priority) -> &Histogram {
        &self.durations[priority as usize]
    }

    /// Since when the call of this priority has been seen pending that has been so for longest; `None`:
    /// none is pending.
    #[must_use]
    pub fn oldest_pending(&self, priority: Priority) -> Option<Now> {
        self.oldest_pending[priority as usize]
    }

    /// Emergency calls of this kind that came.
    #[must_use]
    pub fn emergency_opened(&self, kind: EmergencyKind) -> u64 {
        self.emergency_opened[kind as usize]
    }

    /// Emergency calls of this kind that left the list, whatever became of them.
    #[must_use]
    pub fn emergency_cleared(&self, kind: EmergencyKind) -> u64 {
        self.emergency_cleared[kind as usize]
    }

    /// From first seen to leaving the list.
    #[must_use]
    pub fn emergency_wait(&self, kind: EmergencyKind) -> &Histogram {
        &self.emergency_waits[kind as usize]
    }

    /// When the emergency call of this kind was first seen that waits for longest; `None`: none waits.
    #[must_use]
    pub fn oldest_emergency(&self, kind: EmergencyKind) -> Option<Now> {
        self.oldest_emergency[kind as usize]
    }
}

impl Default for Lifecycles {
    /// Nothing has happened yet.
    fn default() -> Self {
        let empty = || Histogram::new(CALL_SECONDS);
        Self {
            opened: Default::default(),
            closed: Default::default(),
            waits: std::array::from_fn(|_| empty()),
            durations: std::array::from_fn(|_| empty()),
            oldest_pending: Default::default(),
            emergency_opened: Default::default(),
            emergency_cleared: Default::default(),
            emergency_waits: std::array::from_fn(|_| empty()),
            oldest_emergency: Default::default(),
        }
    }
}

impl From<&DispatchCall> for Seen<(Priority, Origin)> {
    fn from(call: &DispatchCall) -> Self {
        Self {
            id: call.id,
            labels: (call.priority, call.origin),
            status: call.status,
        }
    }
}

impl From<&EmergencyCall> for Seen<EmergencyKind> {
    /// Nobody has taken it as long as it is in the list.
    fn from(call: &EmergencyCall) -> Self {
        Self {
            id: call.id,
            labels: call.kind,
            status: Status::Pending,
        }
    }
}

fn keep_older(oldest: &mut Option<Now>, since: Now) {
    if oldest.is_none_or(|oldest| since.instant < oldest.instant) {
        *oldest = Some(since);
    }
}

#[cfg(test)]
mod tests;
