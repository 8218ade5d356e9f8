//! Compares snapshots by call id: which calls opened and closed, and how long they waited and took.
//!
//! Pure: a snapshot and its time in, [`CallStats`] out. Gauges cannot tell how many calls there were: a call that
//! comes as another goes leaves no trace in them. Ids can. What cannot be known is left out rather than guessed:
//!
//! - The first answer that gives a list only seeds: its calls are known from then on, but none of them counts as
//!   opened.
//! - A call closes when it is found among the closed calls, or is absent from two consecutive answers. The time is
//!   that of the first absence. A list that the answer lacks says nothing, neither about absence nor about age.
//! - A closed call that was never seen open counts as opened and closed if it must be younger than the earlier
//!   answers: if its id is above every id of those that gave a closed list.
//! - If the highest id fell since the answer before, and none of its ids is there or a closed call is open, the CAD
//!   was wiped. What was open is closed, and what is listed is new.
//! - A call that left and returns within a day is the same call and does not count again.
//! - A call without a usable id, or that shares its id with another of the same list, is not followed. A list longer
//!   than any real CAD's is treated like one that the answer lacks.
//! - Times are measured from answer to answer: from the first that shows a call to the first that shows it taken or
//!   closed. What happened between two answers took 0 s. A time is as often too long as too short, by at most the
//!   interval, so that sums and means are right at any interval. It counts in the bucket where it probably lies.
//! - No time is recorded for a call that was there before the first snapshot, nor for what happened in a gap between
//!   answers of more than three times the TTL in force (and more than 90 s).
//! - An emergency call that nobody saw is known by the dispatch call that was made from it.

mod closed_ids;
mod last_answer;
mod list;
mod time;
mod units;

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use enum_map::{EnumArray, EnumMap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::list::{Event, List, ListTracker, MAX_CLOSED, Observation};
pub use self::units::{UNITS_PER_PAGE, UnitQuery, UnitStats, UnitTracker};
use crate::clock::as_unix;
use crate::config::LabelTexts;
use crate::histogram::Histogram;
use crate::label::TextCounts;
use crate::snapshot::{
    CallSnapshot, DispatchCall, EmergencyCall, EmergencyKind, IdentifiedCalls, Origin, Priority, Status,
};

/// Upper bounds in seconds for waits and durations. Bounds below a minute would not be true, since calls are seen at
/// most once per TTL.
const CALL_SECONDS: &[f64] = &[60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];

/// Gaps between answers up to this long are ignored, however short the TTL.
const MIN_GAP: Duration = Duration::from_secs(90);

/// Follows what one server's answers of one endpoint say, from answer to answer.
pub trait Track: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + 'static {
    /// One answer, which may consist of several pages.
    type Snapshot: fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What the tracker wants of one page.
    type Query: Copy + Send + Sync + 'static;
    /// What is known so far.
    type Stats: Clone + fmt::Debug;

    /// A tracker that has seen no answer; `ttl` is the one in force, and `labels` are the texts that may become labels.
    fn new(ttl: Duration, labels: &LabelTexts) -> Self;

    /// Changes the TTL in force, and how many ids are remembered of what is gone.
    fn set_limits(&mut self, ttl: Duration, max_ids: usize);

    /// What the first page of an answer should contain that is asked for now.
    fn query(&self, now: Instant) -> Self::Query;

    /// What the page after `page`, which answers `query`, should contain; `None` if `page` is the last one that
    /// matters.
    fn next_query(&self, page: &Self::Snapshot, query: Self::Query) -> Option<Self::Query>;

    /// Adds what only the next page says. Returns whether it says anything new.
    fn append(snapshot: &mut Self::Snapshot, page: Self::Snapshot) -> bool;

    /// Leaves at most `max_ids` one by one in each list of the snapshot; longer lists are counted but not followed.
    fn limit(snapshot: &mut Self::Snapshot, max_ids: usize);

    /// Compares `snapshot`, as of `now`, with what is known. It is complete if no page that matters is missing.
    fn observe(&mut self, snapshot: &Self::Snapshot, is_complete: bool, now: Instant);

    /// What is known so far.
    fn stats(&self) -> &Self::Stats;

    /// Whether this tracker and this snapshot, which come from the store that replicas share, have the buckets and the texts
    /// of this exporter.
    fn fits(&self, snapshot: Option<&Self::Snapshot>, labels: &LabelTexts) -> bool;

    /// Forgets, until the next answer, what is only true while the tracker sees every one.
    fn forget_present(&mut self) {}
}

/// Follows the calls of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// How many closed calls to leave out: those of the pages before.
    pub closed_offset: u32,
}

/// Since when the call that has waited for longest has been waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oldest {
    /// No call waits.
    #[default]
    NoneWaits,
    /// The moment when it was first seen so.
    Since(#[serde(with = "as_unix")] Instant),
    /// A call waits that cannot be followed, or the answer lacks the list.
    Unknown,
}

/// How calls come, wait and go, as far as the answers show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallStats {
    /// Dispatch calls that appeared, by their first priority and origin.
    pub opened: EnumMap<Priority, EnumMap<Origin, u64>>,
    /// Dispatch calls that appeared, by code.
    pub opened_by_code: TextCounts,
    /// Dispatch calls that were closed or left the list, by their first priority and origin.
    pub closed: EnumMap<Priority, EnumMap<Origin, u64>>,
    /// From first seen pending to first seen active or gone, by the last priority.
    pub waits: EnumMap<Priority, Histogram>,
    /// From first seen to closed, by the last priority.
    pub durations: EnumMap<Priority, Histogram>,
    /// Since when the longest-pending call has been pending.
    pub oldest_pending: EnumMap<Priority, Oldest>,
    /// Emergency calls that appeared.
    pub emergency_opened: EnumMap<EmergencyKind, u64>,
    /// Emergency calls that left the list, whatever became of them.
    pub emergency_cleared: EnumMap<EmergencyKind, u64>,
    /// From first seen to leaving the list.
    pub emergency_waits: EnumMap<EmergencyKind, Histogram>,
    /// Since when the emergency call that waits longest has been in the list.
    pub oldest_emergency: EnumMap<EmergencyKind, Oldest>,
}

/// The longest time between two answers for which it is known when things happened.
fn max_gap(ttl: Duration) -> Duration {
    MIN_GAP.max(ttl.saturating_mul(3))
}

impl Track for CallTracker {
    type Snapshot = CallSnapshot;
    type Query = CallQuery;
    type Stats = CallStats;

    fn new(ttl: Duration, labels: &LabelTexts) -> Self {
        let max_gap = max_gap(ttl);
        Self {
            dispatch: ListTracker::new(max_gap),
            emergency: ListTracker::new(max_gap),
            stats: CallStats {
                opened_by_code: TextCounts::new(&labels.call_codes),
                ..CallStats::default()
            },
        }
    }

    fn set_limits(&mut self, ttl: Duration, max_ids: usize) {
        self.dispatch.set_max_gone(max_ids);
        self.emergency.set_max_gone(max_ids);
        self.dispatch.set_max_gap(max_gap(ttl));
        self.emergency.set_max_gap(max_gap(ttl));
    }

    /// Asks for 10 closed calls, or for 100 where more of them may be new: the first time, after a gap, and after an answer
    /// whose closed calls were all new.
    fn query(&self, now: Instant) -> CallQuery {
        CallQuery {
            closed_limit: self.dispatch.closed_limit(now),
            closed_offset: 0,
        }
    }

    /// Asks for more closed calls after a full page of new ones.
    fn next_query(&self, page: &CallSnapshot, query: CallQuery) -> Option<CallQuery> {
        let Some(closed) = page.closed.calls() else {
            // Without the first page, nothing is concluded. Without another one, there may be more new calls.
            return (query.closed_offset > 0).then_some(query);
        };
        let is_full = u32::try_from(closed.len()).is_ok_and(|length| length >= query.closed_limit);
        let ids = closed.iter().map(|call| call.id);
        (is_full && self.dispatch.wants_more_closed(ids)).then_some(CallQuery {
            closed_limit: MAX_CLOSED,
            closed_offset: query.closed_offset + query.closed_limit,
        })
    }

    fn append(snapshot: &mut CallSnapshot, page: CallSnapshot) -> bool {
        snapshot.closed.append(page.closed)
    }

    fn limit(snapshot: &mut CallSnapshot, max_ids: usize) {
        snapshot.limit(max_ids);
    }

    fn observe(&mut self, snapshot: &CallSnapshot, is_complete: bool, now: Instant) {
        let dispatch_events = self.observe_dispatch(snapshot, is_complete, now);
        let emergency_events = self.observe_emergency(snapshot, now);
        let calls: HashMap<u64, &DispatchCall> = snapshot.dispatch_calls().map(|call| (call.id, call)).collect();
        for event in dispatch_events {
            if let Event::Opened { id, .. } = event
                && let Some(call) = calls.get(&id)
            {
                self.observe_opened(call, now);
            }
            self.stats.add_dispatch(event);
        }
        for event in emergency_events {
            self.stats.add_emergency(event);
        }
    }

    fn stats(&self) -> &CallStats {
        &self.stats
    }

    fn fits(&self, _: Option<&CallSnapshot>, labels: &LabelTexts) -> bool {
        self.stats.fits(labels)
    }

    /// The oldest calls may be gone.
    fn forget_present(&mut self) {
        self.stats.oldest_pending = EnumMap::from_fn(|_| Oldest::Unknown);
        self.stats.oldest_emergency = EnumMap::from_fn(|_| Oldest::Unknown);
    }
}

impl CallTracker {
    fn observe_dispatch(
        &mut self,
        snapshot: &CallSnapshot,
        is_complete: bool,
        now: Instant,
    ) -> Vec<Event<(Priority, Origin)>> {
        let open: Option<List<_>> = list(snapshot.active.identified());
        let closed: Option<List<_>> = list(&snapshot.closed);
        let mut events = Vec::new();
        if self.dispatch.is_wiped(open.as_ref(), closed.as_ref()) {
            events = self.dispatch.begin_anew(closed.as_ref(), now);
            // They begin anew as well, perhaps since an answer that had no dispatch call yet.
            for event in self.emergency.forget_gone() {
                self.stats.add_emergency(event);
            }
        }
        let followed = open.as_ref().map(|open| count_pending(open, |(priority, _)| priority));
        events.extend(self.dispatch.observe(open, closed, is_complete, now));
        let since = self.dispatch.pending().map(|((priority, _), since)| (priority, since));
        let waiting = EnumMap::from_fn(|priority| snapshot.active.by_status(priority, Status::Pending));
        self.stats.oldest_pending = oldest(&waiting, followed.as_ref(), since);
        events
    }

    /// Notes what a call that has opened says of itself.
    fn observe_opened(&mut self, call: &DispatchCall, now: Instant) {
        self.stats.opened_by_code.add(call.code);
        if let Some(emergency) = call.made_from {
            // What kind it was is not known. One emergency too many is better than a caller who is forgotten.
            for event in self.emergency.see_gone(emergency, EmergencyKind::Emergency, now) {
                self.stats.add_emergency(event);
            }
        }
    }

    fn observe_emergency(&mut self, snapshot: &CallSnapshot, now: Instant) -> Vec<Event<EmergencyKind>> {
        let open: Option<List<_>> = list(snapshot.emergency.identified());
        let followed = open.as_ref().map(|open| count_pending(open, |kind| kind));
        let events = self.emergency.observe(open, None, true, now);
        let waiting = EnumMap::from_fn(|kind| snapshot.emergency.count(kind));
        self.stats.oldest_emergency = oldest(&waiting, followed.as_ref(), self.emergency.pending());
        events
    }
}

impl CallStats {
    fn fits(&self, labels: &LabelTexts) -> bool {
        let empty = Histogram::new(CALL_SECONDS);
        let of_calls = self.waits.values().chain(self.durations.values());
        let mut histograms = of_calls.chain(self.emergency_waits.values());
        histograms.all(|histogram| histogram.has_buckets_of(&empty))
            && self.opened_by_code.has_texts_of(&TextCounts::new(&labels.call_codes))
    }

    fn add_dispatch(&mut self, event: Event<(Priority, Origin)>) {
        match event {
            Event::Opened {
                first: (priority, origin),
                ..
            } => self.opened[priority][origin] += 1,
            // The unit that observed it was there: nobody waited.
            Event::Taken {
                last: (_, Origin::Observed),
                wait,
            } if wait.observed.is_zero() => {}
            Event::Taken {
                last: (priority, _),
                wait,
            } => time::observe(&mut self.waits[priority], wait),
            Event::Closed {
                first: (priority, origin),
                last: (last_priority, _),
                duration,
            } => {
                self.closed[priority][origin] += 1;
                if let Some(duration) = duration {
                    time::observe(&mut self.durations[last_priority], duration);
                }
            }
        }
    }

    fn add_emergency(&mut self, event: Event<EmergencyKind>) {
        match event {
            Event::Opened { first, .. } => self.emergency_opened[first] += 1,
            // An emergency call waits until it leaves the list.
            Event::Taken { .. } => {}
            Event::Closed { first, duration, .. } => {
                self.emergency_cleared[first] += 1;
                if let Some(duration) = duration {
                    time::observe(&mut self.emergency_waits[first], duration);
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
            opened_by_code: TextCounts::default(),
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

/// The calls of a list, as the tracker of lists sees them; `None` if the list is unknown.
fn list<'a, T, L: Copy>(calls: &'a IdentifiedCalls<T>) -> Option<List<L>>
where
    Observation<L>: From<&'a T>,
{
    calls.calls().map(|calls| calls.iter().map(Observation::from).collect())
}

/// How many calls of a list are pending and can be followed.
fn count_pending<L: Copy, K: EnumArray<u64>>(list: &List<L>, key: impl Fn(L) -> K) -> EnumMap<K, u64> {
    let mut counts = EnumMap::default();
    for call in list.calls().filter(|call| call.status == Status::Pending) {
        counts[key(call.labels)] += 1;
    }
    counts
}

/// Since when the oldest calls wait, by the number of all that wait, of those that can be followed (`None`: the list is
/// unknown), and the moments since when these wait.
fn oldest<K>(
    waiting: &EnumMap<K, u64>,
    followed: Option<&EnumMap<K, u64>>,
    since: impl Iterator<Item = (K, Instant)>,
) -> EnumMap<K, Oldest>
where
    K: EnumArray<u64> + EnumArray<Oldest> + EnumArray<Option<Instant>> + Copy,
{
    let Some(followed) = followed else {
        return EnumMap::from_fn(|_| Oldest::Unknown);
    };
    let mut first: EnumMap<K, Option<Instant>> = EnumMap::default();
    for (key, since) in since {
        first[key] = Some(first[key].map_or(since, |first| first.min(since)));
    }
    EnumMap::from_fn(|key| match first[key] {
        _ if waiting[key] > followed[key] => Oldest::Unknown,
        Some(since) => Oldest::Since(since),
        None => Oldest::NoneWaits,
    })
}

#[cfg(test)]
mod tests;
