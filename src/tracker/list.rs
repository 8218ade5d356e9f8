//! Follows the calls of one kind by the rules of the parent module, whatever their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::closed_ids::ClosedIds;
use super::last_answer::LastAnswer;
use super::time::Time;
use crate::clock::{as_unix, as_unix_option};
use crate::snapshot::Status;

/// Closed calls to ask for while few are new: the API's own default.
const DEFAULT_CLOSED: u32 = 10;

/// The most closed calls that the API returns in one answer.
pub(super) const MAX_CLOSED: u32 = 100;

/// How many ids of calls that are gone are remembered, unless fewer are allowed: those seen last.
const MAX_GONE: usize = 10_000;

/// One call as one answer shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<L> {
    pub(super) id: u64,
    pub(super) labels: L,
    pub(super) status: Status,
}

/// What happened to a call; `None` for a time that is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event<L> {
    /// It appeared.
    Opened { id: u64, first: L },
    /// Its wait is over: it is active, or it is gone without having been seen active.
    Taken { last: L, wait: Time },
    /// It is gone.
    Closed { first: L, last: L, duration: Option<Time> },
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ListTracker<L> {
    max_gap: Duration,
    /// How many ids of calls that are gone are remembered.
    max_gone: usize,
    /// When the newest answer came that listed the open calls; `None` before the first.
    #[serde(with = "as_unix_option")]
    listed_at: Option<Instant>,
    /// The same of the closed calls. The first such list only seeds.
    #[serde(with = "as_unix_option")]
    closed_listed_at: Option<Instant>,
    closed_limit: u32,
    open: BTreeMap<u64, OpenCall<L>>,
    gone: ClosedIds,
    last_answer: LastAnswer,
    /// The highest id of all answers that listed the closed calls. Only a closed call above it is known to have come
    /// since. It stays where it is while closed calls are left out, since these are above it, too.
    floor: Option<u64>,
}

/// A call that was in the newest list of open calls or in the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OpenCall<L> {
    first: L,
    last: L,
    /// When it came; `None` if that is not known.
    came: Option<Moment>,
    /// Whether the call had been counted as closed before. It does not count again.
    has_returned: bool,
    pending_since: Option<Moment>,
    /// Whether it has been seen active: what it waits for after that is not its first unit.
    was_active: bool,
    /// The first of the newest answers that lack it.
    missing: Option<Moment>,
}

/// What happened between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Moment {
    /// When the later one came.
    #[serde(with = "as_unix")]
    at: Instant,
    /// How long after the earlier one; `None` if there was none, or so long ago that nothing is known of when it happened.
    within: Option<Duration>,
}

impl<L: Copy> ListTracker<L> {
    pub(super) fn new(max_gap: Duration) -> Self {
        Self {
            max_gap,
            max_gone: MAX_GONE,
            listed_at: None,
            closed_listed_at: None,
            closed_limit: MAX_CLOSED,
            open: BTreeMap::new(),
            gone: ClosedIds::default(),
            last_answer: LastAnswer::default(),
            floor: None,
        }
    }

    pub(super) fn set_max_gap(&mut self, max_gap: Duration) {
        self.max_gap = max_gap;
    }

    pub(super) fn set_max_gone(&mut self, max_gone: usize) {
        self.max_gone = max_gone;
    }

    /// How many closed calls to ask for now.
    pub(super) fn closed_limit(&self, now: Instant) -> u32 {
        let is_gap = |at| now.saturating_duration_since(at) > self.max_gap;
        if self.closed_listed_at.is_none_or(is_gap) {
            MAX_CLOSED
        } else {
            self.closed_limit
        }
    }

    /// Whether there may be more new closed calls than those of this page, because none of them is known.
    pub(super) fn wants_more_closed(&self, page: impl IntoIterator<Item = u64>) -> bool {
        let is_old = |id| Some(id) <= self.floor && !self.open.contains_key(&id);
        let is_known = |id| self.gone.contains(id) || is_old(id);
        // The first list only seeds.
        self.closed_listed_at.is_some() && !page.into_iter().any(is_known)
    }

    /// The calls that are pending in the newest list, and since when.
    pub(super) fn pending(&self) -> impl Iterator<Item = (L, Instant)> {
        let present = self.open.values().filter(|call| call.missing.is_none());
        present.filter_map(|call| Some((call.last, call.pending_since?.at)))
    }

    /// Whether the answer before `open` and `closed` was of another CAD: the CAD was wiped in between.
    pub(super) fn is_wiped(&self, open: Option<&List<L>>, closed: Option<&List<L>>) -> bool {
        self.last_answer
            .is_from_before_a_wipe(ids(open).as_ref(), ids(closed).as_ref())
    }

    /// Forgets the calls that are gone, whose ids other calls have after a wipe. A call that seemed to return is one of
    /// these.
    pub(super) fn forget_gone(&mut self) -> Vec<Event<L>> {
        self.gone = ClosedIds::default();
        let seemed_to_return = self.open.iter_mut().filter(|(_, call)| call.has_returned);
        let count = |(id, call): (&u64, &mut OpenCall<L>)| {
            call.has_returned = false;
            Event::Opened {
                id: *id,
                first: call.first,
            }
        };
        seemed_to_return.map(count).collect()
    }

    /// Ends everything from before a wipe. Nothing is known of how long its calls would have lasted.
    ///
    /// The calls that are listed now are new. But a list of closed calls as long as was asked for is not that of a
    /// new CAD: the newest calls of the old one were deleted, and so older ones are listed.
    pub(super) fn begin_anew(&mut self, closed: Option<&List<L>>, now: Instant) -> Vec<Event<L>> {
        let open = std::mem::take(&mut self.open).into_values();
        let events = open.filter_map(|call| call.closed(call.last, None)).collect();
        self.gone = ClosedIds::default();
        self.floor = None;
        if closed.is_some_and(|closed| closed.is_full(self.closed_limit(now))) {
            self.closed_listed_at = None;
        }
        events
    }

    /// Compares an answer, as of `now`, with what is known; a list that it lacks is `None`. `has_all_closed` says
    /// whether no new closed call was left out.
    pub(super) fn observe(
        &mut self,
        mut open: Option<List<L>>,
        closed: Option<List<L>>,
        has_all_closed: bool,
        now: Instant,
    ) -> Vec<Event<L>> {
        let highest = open.iter().chain(&closed).filter_map(List::highest).max();
        let has_closed = closed.is_some();
        if let Some(closed) = &closed {
            let is_all_new = !closed.calls.is_empty() && self.wants_more_closed(closed.calls.keys().copied());
            self.closed_limit = if is_all_new { MAX_CLOSED } else { DEFAULT_CLOSED };
        }
        self.last_answer.update(ids(open.as_ref()), ids(closed.as_ref()));

        let mut events = Vec::new();
        let moment = self.moment(self.listed_at, now);
        let closed_moment = self.moment(self.closed_listed_at.min(self.listed_at), now);
        for call in take_closed(open.as_mut(), closed) {
            self.close(&call, moment, closed_moment, &mut events);
        }
        if let Some(open) = open {
            for call in open.calls.values() {
                self.see_open(call, moment, &mut events);
            }
            self.close_absent(&open, moment, &mut events);
            self.listed_at = Some(now);
        }
        if has_closed {
            self.closed_listed_at = Some(now);
            if has_all_closed {
                self.floor = self.floor.max(highest);
            }
        }
        self.gone.forget(now, self.max_gone);
        events
    }

    /// Notes a call that came and went between two answers, unless it is known.
    pub(super) fn see_gone(&mut self, id: u64, labels: L, now: Instant) -> Vec<Event<L>> {
        let mut events = Vec::new();
        if self.listed_at.is_some() && !self.open.contains_key(&id) && !self.gone.contains(id) {
            short_call(id, labels, self.moment(self.listed_at, now), &mut events);
            self.gone.insert(id, now);
        }
        events
    }

    fn moment(&self, answer_before: Option<Instant>, now: Instant) -> Moment {
        let within = answer_before.map(|before| now.saturating_duration_since(before));
        Moment {
            at: now,
            within: within.filter(|within| *within <= self.max_gap),
        }
    }

    /// Notes a call that is closed.
    fn close(&mut self, call: &Observation<L>, moment: Moment, closed_moment: Moment, events: &mut Vec<Event<L>>) {
        let Observation { id, labels, .. } = *call;
        if let Some(known) = self.open.remove(&id) {
            events.extend(known.end(labels, moment));
        } else if self.is_seeded() && Some(id) > self.floor && !self.gone.contains(id) {
            short_call(id, labels, closed_moment, events);
        }
        self.gone.insert(id, moment.at);
    }

    /// Whether calls that are found among the closed can be told from those that closed before the first answer.
    fn is_seeded(&self) -> bool {
        self.listed_at.is_some() && self.closed_listed_at.is_some()
    }

    /// Notes a call that is open.
    fn see_open(&mut self, call: &Observation<L>, moment: Moment, events: &mut Vec<Event<L>>) {
        let has_returned = self.gone.remove(call.id);
        let is_first_list = self.listed_at.is_none();
        let known = self.open.entry(call.id).or_insert_with(|| {
            if !is_first_list && !has_returned {
                events.push(Event::Opened {
                    id: call.id,
                    first: call.labels,
                });
            }
            OpenCall {
                first: call.labels,
                last: call.labels,
                // In the first list, after a gap, or when it returns, it may have come long ago.
                came: (moment.within.is_some() && !has_returned).then_some(moment),
                has_returned,
                pending_since: None,
                was_active: false,
                missing: None,
            }
        });
        events.extend(known.see(call, moment));
    }

    /// Closes the calls that are absent from `list` for the second time in a row.
    fn close_absent(&mut self, list: &List<L>, moment: Moment, events: &mut Vec<Event<L>>) {
        self.open.retain(|id, call| {
            // A shared id cannot be followed, but it shows that the call is not absent.
            if list.calls.contains_key(id) || list.shared.contains(id) {
                return true;
            }
            let was_missing = call.missing.is_some();
            if was_missing {
                events.extend(call.end(call.last, moment));
                self.gone.insert(*id, moment.at);
            } else {
                call.missing = Some(moment);
            }
            !was_missing
        });
    }
}

impl<L: Copy> OpenCall<L> {
    /// Notes what an answer shows of the call.
    fn see(&mut self, call: &Observation<L>, moment: Moment) -> Option<Event<L>> {
        self.last = call.labels;
        self.missing = None;
        match call.status {
            Status::Pending => {
                self.pending_since.get_or_insert(moment);
                None
            }
            Status::Active => {
                let wait = self.wait(moment);
                self.was_active = true;
                self.pending_since = None;
                Some(Event::Taken {
                    last: self.last,
                    wait: wait?,
                })
            }
            // A status that cannot be read changes nothing.
            Status::Closed | Status::Other => None,
        }
    }

    /// How long it has waited for its first unit, which took it at this moment.
    fn wait(&self, taken: Moment) -> Option<Time> {
        let came = self.came.filter(|_| !self.was_active)?;
        // A call that is active as soon as it is seen waited between two answers. If it was seen before, and its status
        // could not be read, it may have been active all the time.
        let has_just_come = came == taken;
        taken.since(self.pending_since.or(has_just_come.then_some(came))?)
    }

    /// The events of its end, at this moment or when it was first missing.
    fn end(&self, last: L, moment: Moment) -> impl Iterator<Item = Event<L>> + use<L> {
        let end = self.missing.unwrap_or(moment);
        // If it was never seen active, it was taken and closed between two answers.
        let taken = self.wait(end).map(|wait| Event::Taken { last, wait });
        let duration = self.came.and_then(|came| end.since(came));
        taken.into_iter().chain(self.closed(last, duration))
    }

    /// The event of its end, unless it had been counted before.
    fn closed(&self, last: L, duration: Option<Time>) -> Option<Event<L>> {
        (!self.has_returned).then_some(Event::Closed {
            first: self.first,
            last,
            duration,
        })
    }
}

impl Moment {
    /// The time since `begin`; `None` if either is not known.
    fn since(self, begin: Self) -> Option<Time> {
        Some(Time {
            observed: self.at.saturating_duration_since(begin.at),
            begin_within: begin.within?,
            end_within: self.within?,
        })
    }
}

/// The events of a call that came and went between two answers.
fn short_call<L: Copy>(id: u64, labels: L, moment: Moment, events: &mut Vec<Event<L>>) {
    let time = moment.since(moment);
    events.push(Event::Opened { id, first: labels });
    events.extend(time.map(|wait| Event::Taken { last: labels, wait }));
    events.push(Event::Closed {
        first: labels,
        last: labels,
        duration: time,
    });
}

fn ids<L>(list: Option<&List<L>>) -> Option<BTreeSet<u64>> {
    list.map(List::ids)
}

impl<L> List<L> {
    /// All ids.
    fn ids(&self) -> BTreeSet<u64> {
        self.calls.keys().chain(&self.shared).copied().collect()
    }

    /// Whether there are at least as many calls as were asked for.
    fn is_full(&self, limit: u32) -> bool {
        u32::try_from(self.length).is_ok_and(|length| length >= limit)
    }

    /// The calls whose id is unique in the list.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Observation<L>> {
        self.calls.values()
    }

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
