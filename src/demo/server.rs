//! The life on one CAD server: calls that come, wait, are taken and closed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Settings;
use super::agenda::Agenda;
use super::call::{Call, EmergencyCall, Status};
use super::chance::Chance;
use super::rhythm::{PEAK, rhythm};
use super::statistics::{Statistics, keep};
use super::units::Units;

/// No call is shorter than this, from opening to closing.
pub const MIN_CALL: Duration = Duration::from_secs(10);

/// Closed calls that the CAD keeps.
const MAX_CLOSED: usize = 1000;

/// The origin of a call that a unit has seen.
const OBSERVED: usize = 2;

/// A future event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Perhaps a call comes; at night, rarely.
    Arrival,
    /// A dispatcher answers an emergency call.
    Answer(u64),
    /// Units take a call.
    Take(u64),
    /// One more unit comes to a call.
    Join(u64),
    /// A call becomes more urgent.
    Raise(u64),
    Close(u64),
}

/// One CAD server.
#[derive(Debug)]
pub(super) struct Server {
    chance: Chance,
    calls_per_second: f64,
    utc_offset: i32,
    agenda: Agenda<Event>,
    active: BTreeMap<u64, Call>,
    emergency: BTreeMap<u64, EmergencyCall>,
    /// The newest first.
    closed: VecDeque<Call>,
    units: Units,
    next_call_id: u64,
    next_emergency_id: u64,
    statistics: Statistics,
}

impl Server {
    /// A server without calls at `unix`.
    pub(super) fn new(settings: &Settings, random: fastrand::Rng, unix: Duration) -> Self {
        let mut chance = Chance::new(random);
        let mut agenda = Agenda::new();
        agenda.add(unix, Event::Arrival);
        Self {
            calls_per_second: f64::from(settings.calls_per_hour) / 3600.0,
            utc_offset: settings.utc_offset,
            agenda,
            active: BTreeMap::new(),
            emergency: BTreeMap::new(),
            closed: VecDeque::new(),
            next_call_id: chance.number(1000..3000),
            next_emergency_id: chance.number(200..900),
            units: Units::new(settings, chance.fork(), unix),
            chance,
            statistics: Statistics::default(),
        }
    }

    /// Lets everything happen until `unix`.
    pub(super) fn live_until(&mut self, unix: Duration) {
        loop {
            let (of_calls, of_units) = (self.agenda.next_at(), self.units.next_at());
            let Some(next) = of_calls.into_iter().chain(of_units).min().filter(|at| *at <= unix) else {
                return;
            };
            if of_units == Some(next) {
                self.units.happen();
            } else if let Some((at, event)) = self.agenda.pop() {
                self.happen(at, event);
            }
        }
    }

    /// Calls that are not closed.
    pub(super) fn active(&self) -> impl Iterator<Item = &Call> {
        self.active.values()
    }

    pub(super) fn emergency(&self) -> impl Iterator<Item = &EmergencyCall> {
        self.emergency.values()
    }

    /// Closed calls, the newest first.
    pub(super) fn closed(&self) -> &VecDeque<Call> {
        &self.closed
    }

    pub(super) fn units(&self) -> &Units {
        &self.units
    }

    /// What has truly happened until `unix`, up to which everything must have happened.
    pub(super) fn statistics(&self, unix: Duration) -> Statistics {
        Statistics {
            units: self.units.statistics(unix),
            ..self.statistics.clone()
        }
    }

    fn happen(&mut self, now: Duration, event: Event) {
        match event {
            Event::Arrival => self.arrive(now),
            Event::Answer(id) => self.answer(now, id),
            Event::Take(id) => self.take(now, id),
            Event::Join(id) => self.join(now, id),
            Event::Raise(id) => self.raise(now, id),
            Event::Close(id) => self.close(now, id),
        }
    }

    /// Calls come at random, at a rate that follows the rhythm: arrivals come at the rate of the peak, and a share of
    /// them is dropped.
    fn arrive(&mut self, now: Duration) {
        let next = self.chance.exponential(1.0 / (self.calls_per_second * PEAK));
        self.agenda.add(now + next, Event::Arrival);
        if !self.chance.is_likely(rhythm(now, self.utc_offset) / PEAK) {
            return;
        }
        if self.chance.is_likely(0.45) {
            self.ring(now);
        } else {
            let origin = self.chance.choose(&[(1, 45), (2, 35), (3, 20)]);
            self.open(now, origin);
        }
    }

    /// Somebody calls 911, or another number.
    fn ring(&mut self, now: Duration) {
        let id = self.next_emergency_id;
        self.next_emergency_id += 1;
        let is_emergency = self.chance.is_likely(0.65);
        let call = EmergencyCall {
            id,
            is_emergency,
            opened_at: now,
        };
        self.statistics.emergency_opened[call.kind()] += 1;
        self.emergency.insert(id, call);
        let wait = Duration::from_secs(8) + self.chance.exponential(if is_emergency { 35.0 } else { 80.0 });
        self.agenda
            .add(now + wait.min(Duration::from_secs(600)), Event::Answer(id));
    }

    /// A dispatcher answers, and mostly makes it a dispatch call.
    fn answer(&mut self, now: Duration, id: u64) {
        let Some(call) = self.emergency.remove(&id) else {
            return;
        };
        self.statistics.emergency_cleared[call.kind()] += 1;
        if self.chance.is_likely(0.9) {
            self.open(now, 0);
        }
    }

    fn open(&mut self, now: Duration, origin: usize) {
        let id = self.next_call_id;
        self.next_call_id += 1;
        let priority = self.chance.choose(&[(1, 20), (2, 45), (3, 35)]);
        let call = Call::new(id, priority, origin, now);
        self.statistics.opened[priority - 1][origin] += 1;
        *self.statistics.opened_by_code.entry(call.incident.code).or_default() += 1;
        self.active.insert(id, call);
        if origin == OBSERVED && self.units.is_any_free() {
            // Seen by a unit that deals with it at once.
            self.take(now, id);
        } else if self.chance.is_likely(0.04) {
            let wait = Duration::from_secs(30) + self.chance.exponential(300.0);
            self.agenda.add(now + wait, Event::Close(id));
        } else {
            let wait = Duration::from_secs(10) + self.chance.exponential([40.0, 80.0, 170.0][priority - 1]);
            self.agenda
                .add(now + wait.min(Duration::from_secs(1800)), Event::Take(id));
        }
        if priority > 1 && self.chance.is_likely(0.06) {
            let delay = Duration::from_secs(self.chance.number(30..180));
            self.agenda.add(now + delay, Event::Raise(id));
        }
    }

    fn take(&mut self, now: Duration, id: u64) {
        let Some(call) = self.active.get_mut(&id) else {
            return;
        };
        // That of an observed call is there already.
        let is_there = call.origin == OBSERVED;
        let Some(unit) = self.units.dispatch(now, call.incident.discipline, is_there) else {
            self.agenda.add(now + Duration::from_secs(15), Event::Take(id));
            return;
        };
        call.units.push(unit);
        call.status = Status::Active;
        call.updated_at = now;
        let (priority, opened_at) = (call.priority, call.opened_at);
        if now > opened_at {
            keep(&mut self.statistics.waits, now, opened_at);
        }
        if self.chance.is_likely([0.9, 0.4, 0.15][priority - 1]) {
            let delay = Duration::from_secs(self.chance.number(5..90));
            self.agenda.add(now + delay, Event::Join(id));
        }
        let length = if self.chance.is_likely(0.15) {
            self.chance.seconds(10..40)
        } else {
            Duration::from_secs(60) + self.chance.exponential([480.0, 360.0, 240.0][priority - 1])
        };
        self.agenda
            .add(now + length.min(Duration::from_secs(7200)), Event::Close(id));
    }

    fn join(&mut self, now: Duration, id: u64) {
        let Some(call) = self.active.get_mut(&id) else {
            return;
        };
        if let Some(unit) = self.units.dispatch(now, call.incident.discipline, false) {
            call.units.push(unit);
            call.updated_at = now;
        }
        if self.chance.is_likely(0.3) {
            self.agenda.add(now + Duration::from_secs(60), Event::Join(id));
        }
    }

    fn raise(&mut self, now: Duration, id: u64) {
        if let Some(call) = self.active.get_mut(&id) {
            call.priority = (call.priority - 1).max(1);
            call.updated_at = now;
        }
    }

    fn close(&mut self, now: Duration, id: u64) {
        let Some(mut call) = self.active.remove(&id) else {
            return;
        };
        self.statistics.closed[call.first_priority - 1][call.origin] += 1;
        keep(&mut self.statistics.durations, now, call.opened_at);
        self.units.release(now, &call.units);
        call.status = Status::Closed;
        call.updated_at = now;
        self.closed.push_front(call);
        self.closed.truncate(MAX_CLOSED);
    }
}
