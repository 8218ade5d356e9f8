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
    /// How many calls there are, those that share an id included.
    length: usize,
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
    /// Whether the newest list of closed calls was full of new ones, so that more may be behind them.
    is_cut_off: bool,
    open: BTreeMap<u64, OpenCall<L>>,
    departed: Departed,
    /// The highest id of all answers.
    highest: u64,
    /// A closed call that was never seen open must be above this id to count: the highest one, or while
    /// closed calls are cut off, what was the highest before.
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
    /// Whether it was known to be closed before: it counts no more.
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
            is_cut_off: false,
            open: BTreeMap::new(),
            departed: Departed::default(),
            highest: 0,
            floor: 0,
        }
    }

    pub(super) fn set_longest_gap(&mut self, longest_gap: Duration) {
        self.longest_gap = longest_gap;
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
        let lists = || open.iter().chain(&closed);
        let highest = lists().filter_map(List::highest).max().unwrap_or_default();
        if highest < self.highest && self.knows_none_of(lists()) {
            *self = Self::new(self.longest_gap);
        }
        let is_gap = self.listed_at.is_some_and(|at| now.since(at) > self.longest_gap);
        if is_gap {
            for call in self.open.values_mut() {
                call.is_timed = false;
            }
        }
        if let Some(closed) = &closed {
            let is_all_new = self.is_all_new(closed);
            self.is_cut_off = is_all_new && closed.length >= self.closed_limit as usize;
            self.closed_limit = if is_all_new { MOST_CLOSED } else { FEW_CLOSED };
        }

        let mut events = Vec::new();
        let lists_closed = closed.is_some();
        for call in take_closed(open.as_mut(), closed) {
            self.close(&call, now, &mut events);
        }
        if let Some(open) = open {
            let came_now = self.listed_at.is_some() && !is_gap;
            for call in open.calls.values() {
                self.open(call, came_now, now, &mut events);
            }
            self.miss_absent(&open, now, &mut events);
            self.listed_at = Some(now);
        }
        self.knows_closed |= lists_closed;
        self.highest = self.highest.max(highest);
        if !self.is_cut_off {
            self.floor = self.highest;
        }
        self.departed.forget(now.instant);
        events
    }

    /// Whether there are calls, and all of them are unknown.
    fn knows_none_of<'a>(&self, lists: impl Iterator<Item = &'a List<L>>) -> bool
    where
        L: 'a,
    {
        let mut ids = lists.flat_map(|list| list.calls.keys()).peekable();
        ids.peek().is_some() && ids.all(|id| !self.open.contains_key(id) && !self.departed.contains(*id))
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

    /// Takes note of a call that is open; `came_now`: if it is new, it came since the last list.
    fn open(&mut self, call: &Seen<L>, came_now: bool, now: Now, events: &mut Vec<Event<L>>) {
        let has_returned = self.departed.remove(call.id);
        let known = self.open.entry(call.id).or_insert_with(|| {
            if self.listed_at.is_some() && !has_returned {
                events.push(Event::Opened(call.labels));
            }
            OpenCall {
                first: call.labels,
                last: call.labels,
                first_seen_at: now,
                is_timed: came_now && !has_returned,
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

impl<L> List<L> {
    /// The highest id; `None` without any.
    fn highest(&self) -> Option<u64> {
        let highest_own = self.calls.keys().next_back();
        highest_own.max(self.shared.last()).copied()
    }
}

impl<L: Copy> FromIterator<Seen<L>> for List<L> {
    fn from_iter<I: IntoIterator<Item = Seen<L>>>(seen: I) -> Self {
        let mut calls = BTreeMap::new();
        let mut shared = BTreeSet::new();
        let mut length = 0;
        for call in seen {
            length += 1;
            if calls.insert(call.id, call).is_some() {
                shared.insert(call.id);
            }
        }
        calls.retain(|id, _| !shared.contains(id));
        Self { calls, shared, length }
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
