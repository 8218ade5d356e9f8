//! Follows the calls of one kind by the rules of the parent module, whatever their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::closed_ids::ClosedIds;
use crate::clock::Now;
use crate::snapshot::Status;

/// Closed calls to ask for while few are new: the API's own default.
const DEFAULT_CLOSED: u32 = 10;

/// The most closed calls that the API returns in one answer.
const MAX_CLOSED: u32 = 100;

/// One call as one answer shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<L> {
    pub(super) id: u64,
    pub(super) labels: L,
    pub(super) status: Status,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<L> {
    /// It appeared.
    Opened(L),
    /// It was pending and became active.
    Taken { last: L, wait: Duration },
    /// It is gone; `duration` is `None` if it is not known.
    Closed {
        first: L,
        last: L,
        duration: Option<Duration>,
    },
}

/// One list of an answer.
#[derive(Debug)]
pub(super) struct List<L> {
    /// The calls whose id is unique in the list.
    calls: BTreeMap<u64, Observation<L>>,
    /// The ids that several calls share.
    shared: BTreeSet<u64>,
    /// The number of calls, those that share an id included.
    length: usize,
}

/// Follows the calls of one kind.
#[derive(Debug)]
pub(super) struct ListTracker<L> {
    max_gap: Duration,
    /// When the newest answer came that listed the open calls; `None` before the first.
    listed_at: Option<Now>,
    /// Whether any answer has listed the closed calls. The first such list only seeds.
    has_listed_closed: bool,
    closed_limit: u32,
    /// Whether the newest list of closed calls was full of new ones, so that there may be more that it left out.
    is_cut_off: bool,
    open: BTreeMap<u64, OpenCall<L>>,
    gone: ClosedIds,
    /// The highest id of all answers.
    highest: u64,
    /// A closed call that was never seen open counts only above this id: the highest id, or while closed calls are
    /// cut off, the highest id from before.
    floor: u64,
}

/// A call that was in the newest list of open calls or in the one before.
#[derive(Debug)]
struct OpenCall<L> {
    first: L,
    last: L,
    first_seen_at: Now,
    /// Whether it is known when the call came, and every answer since then was seen without a gap.
    is_timed: bool,
    /// Whether the call had been counted as closed before. It does not count again.
    has_returned: bool,
    pending_since: Option<Now>,
    was_active: bool,
    missing_since: Option<Now>,
}

impl<L: Copy> ListTracker<L> {
    pub(super) fn new(max_gap: Duration) -> Self {
        Self {
            max_gap,
            listed_at: None,
            has_listed_closed: false,
            closed_limit: MAX_CLOSED,
            is_cut_off: false,
            open: BTreeMap::new(),
            gone: ClosedIds::default(),
            highest: 0,
            floor: 0,
        }
    }

    pub(super) fn set_max_gap(&mut self, max_gap: Duration) {
        self.max_gap = max_gap;
    }

    pub(super) fn closed_limit(&self) -> u32 {
        self.closed_limit
    }

    /// The calls that are pending in the newest list, and since when.
    pub(super) fn pending(&self) -> impl Iterator<Item = (L, Now)> {
        let present = self.open.values().filter(|call| call.missing_since.is_none());
        present.filter_map(|call| Some((call.last, call.pending_since?)))
    }

    /// Compares an answer, as of `now`, with what is known; a list that it lacks is `None`.
    pub(super) fn observe(&mut self, mut open: Option<List<L>>, closed: Option<List<L>>, now: Now) -> Vec<Event<L>> {
        let lists = || open.iter().chain(&closed);
        let highest = lists().filter_map(List::highest).max().unwrap_or_default();
        // Ids rise as long as a CAD lives, so lower ones that are all unknown mean that it was wiped.
        if highest < self.highest && self.knows_none_of(lists()) {
            *self = Self::new(self.max_gap);
        }
        let is_gap = self.listed_at.is_some_and(|at| now.since(at) > self.max_gap);
        if is_gap {
            self.stop_timing();
        }
        if let Some(closed) = &closed {
            self.plan_next_closed_list(closed);
        }

        let mut events = Vec::new();
        self.has_listed_closed |= self.close_all(open.as_mut(), closed, now, &mut events);
        if let Some(open) = open {
            // After a gap, or in the first list, a new call may have come long ago.
            let came_now = self.listed_at.is_some() && !is_gap;
            for call in open.calls.values() {
                self.see_open(call, came_now, now, &mut events);
            }
            self.close_absent(&open, now, &mut events);
            self.listed_at = Some(now);
        }
        self.highest = self.highest.max(highest);
        // While closed calls are cut off, those that were left out can still come; they are above the old floor.
        if !self.is_cut_off {
            self.floor = self.highest;
        }
        self.gone.forget(now.instant);
        events
    }

    /// Whether the lists contain calls, and all of them are unknown.
    fn knows_none_of<'a>(&self, lists: impl Iterator<Item = &'a List<L>>) -> bool
    where
        L: 'a,
    {
        let mut ids = lists.flat_map(|list| list.calls.keys()).peekable();
        ids.peek().is_some() && ids.all(|id| !self.open.contains_key(id) && !self.gone.contains(*id))
    }

    /// Records no times for the calls that are open now: what happened to them in the gap was not seen.
    fn stop_timing(&mut self) {
        for call in self.open.values_mut() {
            call.is_timed = false;
        }
    }

    /// Decides how many closed calls to ask for next, and whether `closed` may have left some out.
    fn plan_next_closed_list(&mut self, closed: &List<L>) {
        let is_known = |id: &u64| self.gone.contains(*id);
        let is_all_new = self.has_listed_closed && !closed.calls.is_empty() && !closed.calls.keys().any(is_known);
        let is_full = u32::try_from(closed.length).map_or(true, |length| length >= self.closed_limit);
        self.is_cut_off = is_all_new && is_full;
        self.closed_limit = if is_all_new { MAX_CLOSED } else { DEFAULT_CLOSED };
    }

    /// Closes what is closed: the calls of the closed list, and open ones that are marked as closed. Takes them out
    /// of `open`. Returns whether there was a closed list.
    fn close_all(
        &mut self,
        open: Option<&mut List<L>>,
        closed: Option<List<L>>,
        now: Now,
        events: &mut Vec<Event<L>>,
    ) -> bool {
        let is_listed = closed.is_some();
        for call in take_closed(open, closed) {
            self.close(&call, now, events);
        }
        is_listed
    }

    fn close(&mut self, call: &Observation<L>, now: Now, events: &mut Vec<Event<L>>) {
        let Observation { id, labels, .. } = *call;
        if let Some(known) = self.open.remove(&id) {
            events.extend(known.close(labels, now));
        } else if self.has_listed_closed && id > self.floor && !self.gone.contains(id) {
            events.push(Event::Opened(labels));
            events.push(Event::Closed {
                first: labels,
                last: labels,
                duration: None,
            });
        }
        self.gone.insert(id, now.instant);
    }

    /// Notes a call that is open; a new one has just come if `came_now`.
    fn see_open(&mut self, call: &Observation<L>, came_now: bool, now: Now, events: &mut Vec<Event<L>>) {
        let has_returned = self.gone.remove(call.id);
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

    /// Closes the calls that are absent from `list` for the second time in a row.
    fn close_absent(&mut self, list: &List<L>, now: Now, events: &mut Vec<Event<L>>) {
        self.open.retain(|id, call| {
            // A shared id cannot be followed, but it shows that the call is not absent.
            if list.calls.contains_key(id) || list.shared.contains(id) {
                return true;
            }
            let was_missing = call.missing_since.is_some();
            if was_missing {
                events.extend(call.close(call.last, now));
                self.gone.insert(*id, now.instant);
            } else {
                call.missing_since = Some(now);
            }
            !was_missing
        });
    }
}

impl<L: Copy> OpenCall<L> {
    /// Notes what an answer shows of the call.
    fn see(&mut self, call: &Observation<L>, now: Now) -> Option<Event<L>> {
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
                // A call that becomes pending and active once more has waited before.
                (self.is_timed && !was_active).then(|| Event::Taken {
                    last: self.last,
                    wait: now.since(pending_since),
                })
            }
            // A status that cannot be read changes nothing.
            Status::Closed | Status::Other => None,
        }
    }

    /// The event of its end, at `now` or when it was first missing.
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
    /// The highest id; `None` if the list is empty.
    fn highest(&self) -> Option<u64> {
        let highest_unique = self.calls.keys().next_back();
        highest_unique.max(self.shared.last()).copied()
    }
}

impl<L: Copy> FromIterator<Observation<L>> for List<L> {
    fn from_iter<I: IntoIterator<Item = Observation<L>>>(observations: I) -> Self {
        let mut calls = BTreeMap::new();
        let mut shared = BTreeSet::new();
        let mut length = 0;
        for call in observations {
            length += 1;
            if calls.insert(call.id, call).is_some() {
                shared.insert(call.id);
            }
        }
        calls.retain(|id, _| !shared.contains(id));
        Self { calls, shared, length }
    }
}

/// Takes the closed calls out of the open list: those that are in the closed list too, and those that are marked as
/// closed but linger.
fn take_closed<L: Copy>(open: Option<&mut List<L>>, closed: Option<List<L>>) -> impl Iterator<Item = Observation<L>> {
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
