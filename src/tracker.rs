//! Compares snapshots by call id: which calls opened and closed, and how long they waited and took.
//!
//! Pure: a snapshot and its time in, [`CallStats`] out. Gauges cannot tell how many calls there were: a call that
//! comes as another goes leaves no trace in them. Ids can. What cannot be known is left out rather than guessed:
//!
//! - The first snapshot only seeds: its calls are known from then on, but none of them counts as opened.
//! - A call closes when it is found among the closed calls, or is absent from two consecutive answers. The time is
//!   that of the first absence. A list that the answer lacks says nothing about absence.
//! - A closed call that was never seen open counts as opened and closed if it must be younger than the earlier
//!   answers: if its id is above all of theirs.
//! - If no id of an answer is known and all are lower than before, the CAD was wiped, and the answer seeds like the
//!   first.
//! - A call that left and returns within a day is the same call and does not count again.
//! - A call without an id, or that shares its id with another of the same list, is not followed. A list longer than
//!   any real CAD's is treated like one that the answer lacks.
//! - No time is recorded for a call that was there before the first snapshot, or across a gap between answers of more
//!   than twice the TTL in force (and more than 90 s): it is not known when the call came.

mod closed_ids;
mod list;

use std::fmt;
use std::time::Duration;

use enum_map::EnumMap;

use self::list::{Event, ListTracker, Observation};
use crate::clock::Now;
use crate::histogram::Histogram;
use crate::snapshot::{CallSnapshot, DispatchCall, EmergencyCall, EmergencyKind, Origin, Priority, Status};

/// Upper bounds in seconds for waits and durations. Bounds below a minute would not be true, since calls are seen at
/// most once per TTL.
const CALL_SECONDS: &[f64] = &[60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];

/// Gaps between answers up to this long are ignored, however short the TTL.
const MIN_GAP: Duration = Duration::from_secs(90);

/// Follows what one server's answers of one endpoint say, from answer to answer.
pub trait Track: fmt::Debug + Send + 'static {
    /// One answer.
    type Snapshot: fmt::Debug + Send + Sync + 'static;
    /// What the tracker wants of the next answer.
    type Query: Copy + Send + Sync + 'static;
    /// What is known so far.
    type Stats: Clone + fmt::Debug;

    /// A tracker that has seen no answer; `ttl` is the one in force.
    fn new(ttl: Duration) -> Self;

    /// Changes the TTL in force.
    fn set_ttl(&mut self, ttl: Duration);

    /// What the next answer should contain.
    fn query(&self) -> Self::Query;

    /// Compares `snapshot`, as of `now`, with what is known.
    fn observe(&mut self, snapshot: &Self::Snapshot, now: Now);

    /// What is known so far.
    fn stats(&self) -> &Self::Stats;
}

/// Follows the calls of one server.
#[derive(Debug)]
pub struct CallTracker {
    dispatch: ListTracker<(Priority, Origin)>,
    emergency: ListTracker<EmergencyKind>,
    stats: CallStats,
}

/// What a request for calls asks for besides the open calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallQuery {
    /// How many closed calls the answer may contain, 1 to 100.
    pub closed_limit: u32,
}

/// How calls come, wait and go, as far as the answers show it.
#[derive(Clone, Debug)]
pub struct CallStats {
    /// Dispatch calls that appeared, by their first priority and origin.
    pub opened: EnumMap<Priority, EnumMap<Origin, u64>>,
    /// Dispatch calls that were closed or left the list, by their first priority and origin.
    pub closed: EnumMap<Priority, EnumMap<Origin, u64>>,
    /// From first seen pending to first seen active, by the last priority.
    pub waits: EnumMap<Priority, Histogram>,
    /// From first seen to closed, by the last priority.
    pub durations: EnumMap<Priority, Histogram>,
    /// When the longest-pending call was first seen pending; `None` if none is pending.
    pub oldest_pending: EnumMap<Priority, Option<Now>>,
    /// Emergency calls that appeared.
    pub emergency_opened: EnumMap<EmergencyKind, u64>,
    /// Emergency calls that left the list, whatever became of them.
    pub emergency_cleared: EnumMap<EmergencyKind, u64>,
    /// From first seen to leaving the list.
    pub emergency_waits: EnumMap<EmergencyKind, Histogram>,
    /// When the emergency call that waits longest was first seen; `None` if none waits.
    pub oldest_emergency: EnumMap<EmergencyKind, Option<Now>>,
}

/// The longest time between two answers across which times are recorded.
fn max_gap(ttl: Duration) -> Duration {
    MIN_GAP.max(ttl.saturating_mul(2))
}

impl Track for CallTracker {
    type Snapshot = CallSnapshot;
    type Query = CallQuery;
    type Stats = CallStats;

    fn new(ttl: Duration) -> Self {
        let max_gap = max_gap(ttl);
        Self {
            dispatch: ListTracker::new(max_gap),
            emergency: ListTracker::new(max_gap),
            stats: CallStats::default(),
        }
    }

    fn set_ttl(&mut self, ttl: Duration) {
        self.dispatch.set_max_gap(max_gap(ttl));
        self.emergency.set_max_gap(max_gap(ttl));
    }

    /// Asks for 10 closed calls, or for 100 the first time and after an answer whose closed calls were all new, since
    /// there may have been more of them.
    fn query(&self) -> CallQuery {
        CallQuery {
            closed_limit: self.dispatch.closed_limit(),
        }
    }

    fn observe(&mut self, snapshot: &CallSnapshot, now: Now) {
        let active = snapshot.active.identified().calls();
        let closed = snapshot.closed.calls();
        let list = |calls: &[DispatchCall]| calls.iter().map(Observation::from).collect();
        for event in self.dispatch.observe(active.map(list), closed.map(list), now) {
            self.stats.add_dispatch(event);
        }
        self.stats.oldest_pending = EnumMap::default();
        if active.is_some() {
            for ((priority, _), since) in self.dispatch.pending() {
                keep_older(&mut self.stats.oldest_pending[priority], since);
            }
        }

        let waiting = snapshot.emergency.identified().calls();
        let list = |calls: &[EmergencyCall]| calls.iter().map(Observation::from).collect();
        for event in self.emergency.observe(waiting.map(list), None, now) {
            self.stats.add_emergency(event);
        }
        self.stats.oldest_emergency = EnumMap::default();
        if waiting.is_some() {
            for (kind, since) in self.emergency.pending() {
                keep_older(&mut self.stats.oldest_emergency[kind], since);
            }
        }
    }

    fn stats(&self) -> &CallStats {
        &self.stats
    }
}

impl CallStats {
    fn add_dispatch(&mut self, event: Event<(Priority, Origin)>) {
        match event {
            Event::Opened((priority, origin)) => self.opened[priority][origin] += 1,
            Event::Taken {
                last: (priority, _),
                wait,
            } => self.waits[priority].observe(wait),
            Event::Closed {
                first: (priority, origin),
                last: (last_priority, _),
                duration,
            } => {
                self.closed[priority][origin] += 1;
                if let Some(duration) = duration {
                    self.durations[last_priority].observe(duration);
                }
            }
        }
    }

    fn add_emergency(&mut self, event: Event<EmergencyKind>) {
        match event {
            Event::Opened(kind) => self.emergency_opened[kind] += 1,
            // An emergency call waits until it leaves the list.
            Event::Taken { .. } => {}
            Event::Closed { first, duration, .. } => {
                self.emergency_cleared[first] += 1;
                if let Some(duration) = duration {
                    self.emergency_waits[first].observe(duration);
                }
            }
        }
    }
}

impl Default for CallStats {
    /// Nothing has happened yet.
    fn default() -> Self {
        let empty = || Histogram::new(CALL_SECONDS);
        Self {
            opened: EnumMap::default(),
            closed: EnumMap::default(),
            waits: EnumMap::from_fn(|_| empty()),
            durations: EnumMap::from_fn(|_| empty()),
            oldest_pending: EnumMap::default(),
            emergency_opened: EnumMap::default(),
            emergency_cleared: EnumMap::default(),
            emergency_waits: EnumMap::from_fn(|_| empty()),
            oldest_emergency: EnumMap::default(),
        }
    }
}

impl From<&DispatchCall> for Observation<(Priority, Origin)> {
    fn from(call: &DispatchCall) -> Self {
        Self {
            id: call.id,
            labels: (call.priority, call.origin),
            status: call.status,
        }
    }
}

impl From<&EmergencyCall> for Observation<EmergencyKind> {
    /// An emergency call is pending as long as it is in the list.
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
