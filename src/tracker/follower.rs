//! Follows the calls of one kind: the rules of [`super`], for any labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::departed::Departed;
use crate::clock::Now;
use crate::snapshot::Status;

/// Closed calls asked for where few are new: the API's own default.
const FEW_CLOSED: u32 = 10;

/// The most closed calls that the API gives in one answer.
const MOST_CLOSED: u32 = 100;

/// One call as one answer shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<L> {
    pub(super) id: u64,
    pub(super) labels: L,
    pub(super) status: Status,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<L> {
    /// It appeared.
    Opened(L),
    /// It was pending, and somebody took it.
    Taken { last: L, wait: Duration },
    /// It is gone; `duration` where it is known.
    Closed {
        first: L,
        last: L,
        duration: Option<Duration>,
    },
}

/// One list of an answer.
#[derive(Debug)]
pub(super) struct List<L> {
    /// Those that have an id of their own.
    calls: BTreeMap<u64, Seen<L>>,
    /// The ids that several calls share.
    shared: BTreeSet<u64>,
}

/// Follows the calls of one kind.
#[derive(Debug)]
pub(super) struct Follower<L> {
    longest_gap: Duration,
    /// When the newest answer came that listed the open calls; `None` before the first.
    listed_at: Option<Now>,
    /// Whether any answer has listed the closed calls.
    knows_closed: bool,
    closed_limit: u32,
    open: BTreeMap<u64, OpenCall<L>>,
    departed: Departed,
    /// The highest id of all answers.
    highest: u64,
    /// A closed call that was never seen open must be above this id to count: the highest one, or where
    /// the newest list of closed calls was cut off, what was the highest before it.
    floor: u64,
}

/// A call that was in the newest list of open calls, or in the one before.
#[derive(Debug)]
struct OpenCall<L> {
    first: L,
    last: L,
    first_seen_at: Now,
    /// Whether it came when it was first seen, and has been watched without a gap.
    is_timed: bool,
    /// Whether it has been counted as opened and closed before.
    has_returned: bool,
    pending_since: Option<Now>,
    was_active: bool,
    missing_since: Option<Now>,
}

impl<L: Copy> Follower<L> {
    pub(super) fn new(longest_gap: Duration) -> Self {
        Self {
            longest_gap,
            listed_at: None,
            knows_closed: false,
            closed_limit: MOST_CLOSED,
            open: BTreeMap::new(),
            departed: Departed::default(),
            highest: 0,
            floor: 0,
        }
    }

    pub(super) fn closed_limit(&self) -> u32 {
        self.closed_limit
    }

    /// The calls that the newest list shows pending, and since when.
    pub(super) fn pending(&self) -> impl Iterator<Item = (L, Now)> {
        let present = self.open.values().filter(|call| call.missing_since.is_none());
        present.filter_map(|call| Some((call.last, call.pending_since?)))
    }

    /// Compares an answer, as of `now`, with what is known; a list that it lacks is `None`.
    pub(super) fn observe(&mut self, mut open: Option<List<L>>, closed: Option<List<L>>, now: Now) -> Vec<Event<L>> {
        let ids: BTreeSet<_> = open.iter().chain(&closed).flat_map(List::ids).collect();
        if self.is_wiped(&ids) {
            *self = Self::new(self.longest_gap);
        }
        let is_gap = self.listed_at.is_some_and(|at| now.since(at) > self.longest_gap);
        if is_gap {
            for call in self.open.values_mut() {
                call.is_timed = false;
            }
        }
        let is_all_new = closed.as_ref().is_some_and(|closed| self.is_all_new(closed));
        let is_cut_off = is_all_new
            && closed
                .iter()
                .all(|closed| closed.calls.len() >= self.closed_limit as usize);

        let mut events = Vec::new();
        let lists_closed = closed.is_some();
        for call in take_closed(open.as_mut(), closed) {
            self.close(&call, now, &mut events);
        }
        if let Some(open) = open {
            let is_timed = self.listed_at.is_some() && !is_gap;
            for call in open.calls.values() {
                self.open(call, is_timed, now, &mut events);
            }
            self.miss_absent(&open, now, &mut events);
            self.listed_at = Some(now);
        }
        if lists_closed {
            self.knows_closed = true;
            self.closed_limit = if is_all_new { MOST_CLOSED } else { FEW_CLOSED };
        }
        self.highest = self.highest.max(ids.last().copied().unwrap_or_default());
        if !is_cut_off {
            self.floor = self.highest;
        }
        self.departed.forget(now.instant);
        events
    }

    /// Whether there are ids, all lower than before, and none of them is known.
    fn is_wiped(&self, ids: &BTreeSet<u64>) -> bool {
        let is_known = |id: &u64| self.open.contains_key(id) || self.departed.contains(*id);
        ids.last().is_some_and(|highest| *highest < self.highest) && !ids.iter().any(is_known)
    }

    /// Whether there are closed calls, of which none was known to be closed; the first list only seeds.
    fn is_all_new(&self, closed: &List<L>) -> bool {
        let is_known = |id: &u64| self.departed.contains(*id);
        self.knows_closed && !closed.calls.is_empty() && !closed.calls.keys().any(is_known)
    }

    /// Takes note of a call that is closed.
    fn close(&mut self, call: &Seen<L>, now: Now, events: &mut Vec<Event<L>>) {
        let Seen { id, labels, .. } = *call;
        if let Some(known) = self.open.remove(&id) {
            events.extend(known.close(labels, now));
        } else if self.knows_closed && id > self.floor && !self.departed.contains(id) {
            events.push(Event::Opened(labels));
            events.push(Event::Closed {
                first: labels,
                last: labels,
                duration: None,
            });
        }
        self.departed.insert(id, now.instant);
    }

    /// Takes note of a call that is open; `is_timed`: if it is new, it came just now.
    fn open(&mut self, call: &Seen<L>, is_timed: bool, now: Now, events: &mut Vec<Event<L>>) {
        let has_returned = self.departed.remove(call.id);
        let known = self.open.entry(call.id).or_insert_with(|| {
            if self.listed_at.is_some() && !has_returned {
                events.push(Event::Opened(call.labels));
            }
            OpenCall {
                first: call.labels,
                last: call.labels,
                first_seen_at: now,
                is_timed: is_timed && !has_returned,
                has_returned,
                pending_since: None,
                was_active: false,
                missing_since: None,
            }
        });
        events.extend(known.see(call, now));
    }

    /// Takes note of what the list of open calls lacks.
    fn miss_absent(&mut self, list: &List<L>, now: Now, events: &mut Vec<Event<L>>) {
        self.open.retain(|id, call| {
            if list.calls.contains_key(id) || list.shared.contains(id) {
                return true;
            }
            let missed_before = call.missing_since.is_some();
            if missed_before {
                events.extend(call.close(call.last, now));
                self.departed.insert(*id, now.instant);
            } else {
                call.missing_since = Some(now);
            }
            !missed_before
        });
    }
}

impl<L: Copy> OpenCall<L> {
    /// Takes note of what an answer shows of it.
    fn see(&mut self, call: &Seen<L>, now: Now) -> Option<Event<L>> {
        self.last = call.labels;
        self.missing_since = None;
        match call.status {
            Status::Pending => {
                self.pending_since.get_or_insert(now);
                None
            }
            Status::Active => {
                let was_active = std::mem::replace(&mut self.was_active, true);
                let pending_since = self.pending_since.take()?;
                (self.is_timed && !was_active).then(|| Event::Taken {
                    last: self.last,
                    wait: now.since(pending_since),
                })
            }
            // What cannot be read changes nothing.
            Status::Closed | Status::Other => None,
        }
    }

    /// It is gone, at `now` or since it was first missed.
    fn close(&self, last: L, now: Now) -> Option<Event<L>> {
        let closed_at = self.missing_since.unwrap_or(now);
        (!self.has_returned).then(|| Event::Closed {
            first: self.first,
            last,
            duration: self.is_timed.then(|| closed_at.since(self.first_seen_at)),
        })
    }
}

impl<L: Copy> List<L> {
    fn ids(&self) -> impl Iterator<Item = u64> {
        self.calls.keys().chain(&self.shared).copied()
    }
}

impl<L: Copy> FromIterator<Seen<L>> for List<L> {
    fn from_iter<I: IntoIterator<Item = Seen<L>>>(seen: I) -> Self {
        let mut calls = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for call in seen {
            if calls.insert(call.id, call).is_some() {
                shared.insert(call.id);
            }
        }
        calls.retain(|id, _| !shared.contains(id));
        Self { calls, shared }
    }
}

/// Takes what is closed out of the open calls: what the list of closed calls holds, and what is said to
/// be closed but lingers.
fn take_closed<L: Copy>(open: Option<&mut List<L>>, closed: Option<List<L>>) -> impl Iterator<Item = Seen<L>> {
    let mut taken = closed.map_or_else(BTreeMap::new, |closed| closed.calls);
    if let Some(open) = open {
        open.calls.retain(|id, call| {
            if call.status == Status::Closed {
                taken.entry(*id).or_insert(*call);
            }
            !taken.contains_key(id)
        });
    }
    taken.into_values()
}
