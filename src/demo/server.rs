//! The life on one CAD server: calls that come, wait, are taken and closed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::Settings;

/// No call is shorter than this, from opening to closing.
pub const MIN_CALL: Duration = Duration::from_secs(10);

/// Minimum units on duty. Where it is busier, there is one for every two calls per hour.
const MIN_UNITS: u32 = 40;

/// Closed calls that the CAD keeps.
const MAX_CLOSED: usize = 1000;

/// Waits and durations that the statistics keep, the newest ones.
const MAX_TIMES: usize = 10_000;

/// How busy each hour of the day is, from midnight on, relative to an average hour of the week. Nights are not quiet:
/// people try a demo at any hour.
const RHYTHM: [f64; 24] = [
    1.1, 0.95, 0.8, 0.75, 0.7, 0.7, 0.7, 0.75, 0.8, 0.8, 0.85, 0.9, 0.9, 0.95, 0.95, 1.0, 1.15, 1.2, 1.3, 1.35, 1.4,
    1.4, 1.35, 1.25,
];

/// The same for the days of the week, from Monday on.
const WEEK: [f64; 7] = [0.85, 0.85, 0.9, 0.95, 1.15, 1.25, 1.05];

/// Above every product of the two factors.
const PEAK: f64 = 1.8;

/// The status of a dispatch call, with the API's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending = 0,
    Active = 1,
    Closed = 2,
}

/// A dispatch call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    /// 1 to 3.
    pub(super) priority: usize,
    /// 0 caller, 1 radio dispatch, 2 observed, 3 walk-up.
    pub(super) origin: usize,
    pub(super) status: Status,
    pub(super) units: Vec<u32>,
    pub(super) opened_at: Duration,
    pub(super) updated_at: Duration,
}

/// A call that waits for a dispatcher.
#[derive(Clone, Debug)]
pub(super) struct EmergencyCall {
    pub(super) id: u64,
    pub(super) is_emergency: bool,
    pub(super) opened_at: Duration,
}

/// What has truly happened, since the server's first call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Statistics {
    /// Dispatch calls opened, by priority (1 to 3) and origin (the API's numbers).
    pub opened: [[u64; 4]; 3],
    /// Dispatch calls closed, by priority and origin when they opened.
    pub closed: [[u64; 4]; 3],
    /// Emergency and civil calls that came.
    pub emergency_opened: [u64; 2],
    /// Emergency and civil calls that left the list.
    pub emergency_cleared: [u64; 2],
    /// How long calls that opened pending waited until they were taken, in seconds; the newest 10,000.
    pub waits: VecDeque<f64>,
    /// How long calls lasted that are closed, in seconds; the newest 10,000.
    pub durations: VecDeque<f64>,
}

impl Statistics {
    /// Dispatch calls opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.iter().flatten().sum()
    }

    /// Dispatch calls closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().flatten().sum()
    }
}

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
    random: fastrand::Rng,
    calls_per_second: f64,
    utc_offset: i32,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    active: BTreeMap<u64, Call>,
    emergency: BTreeMap<u64, EmergencyCall>,
    /// The newest first.
    closed: VecDeque<Call>,
    free_units: Vec<u32>,
    next_call_id: u64,
    next_emergency_id: u64,
    /// Each open call's priority when it opened.
    first_priorities: BTreeMap<u64, usize>,
    statistics: Statistics,
}

impl Server {
    /// A server without calls at `unix`.
    pub(super) fn new(settings: &Settings, mut random: fastrand::Rng, unix: Duration) -> Self {
        let next_call_id = random.u64(1000..3000);
        let next_emergency_id = random.u64(200..900);
        let mut server = Self {
            random,
            calls_per_second: f64::from(settings.calls_per_hour) / 3600.0,
            utc_offset: settings.utc_offset,
            events: BinaryHeap::new(),
            active: BTreeMap::new(),
            emergency: BTreeMap::new(),
            closed: VecDeque::new(),
            free_units: (1..=(settings.calls_per_hour / 2).max(MIN_UNITS)).collect(),
            next_call_id,
            next_emergency_id,
            first_priorities: BTreeMap::new(),
            statistics: Statistics::default(),
        };
        server.expect(unix, Event::Arrival);
        server
    }

    /// Lets everything happen until `unix`.
    pub(super) fn live_until(&mut self, unix: Duration) {
        while let Some(Reverse((at, event))) = self.events.peek().copied()
            && at <= unix
        {
            self.events.pop();
            self.happen(at, event);
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

    pub(super) fn statistics(&self) -> &Statistics {
        &self.statistics
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

    fn expect(&mut self, at: Duration, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    /// Calls come at random, at a rate that follows the rhythm: arrivals come at the rate of the peak, and a share of
    /// them is dropped.
    fn arrive(&mut self, now: Duration) {
        let next = self.exponential(1.0 / (self.calls_per_second * PEAK));
        self.expect(now + next, Event::Arrival);
        if !self.is_likely(rhythm(now, self.utc_offset) / PEAK) {
            return;
        }
        if self.is_likely(0.45) {
            self.ring(now);
        } else {
            let origin = self.choose(&[(1, 45), (2, 35), (3, 20)]);
            self.open(now, origin);
        }
    }

    /// Somebody calls 911, or another number.
    fn ring(&mut self, now: Duration) {
        let id = self.next_emergency_id;
        self.next_emergency_id += 1;
        let is_emergency = self.is_likely(0.65);
        let call = EmergencyCall {
            id,
            is_emergency,
            opened_at: now,
        };
        self.statistics.emergency_opened[kind(&call)] += 1;
        self.emergency.insert(id, call);
        let wait = Duration::from_secs(8) + self.exponential(if is_emergency { 35.0 } else { 80.0 });
        self.expect(now + wait.min(Duration::from_secs(600)), Event::Answer(id));
    }

    /// A dispatcher answers, and mostly makes it a dispatch call.
    fn answer(&mut self, now: Duration, id: u64) {
        let Some(call) = self.emergency.remove(&id) else {
            return;
        };
        self.statistics.emergency_cleared[kind(&call)] += 1;
        if self.is_likely(0.9) {
            self.open(now, 0);
        }
    }

    fn open(&mut self, now: Duration, origin: usize) {
        let id = self.next_call_id;
        self.next_call_id += 1;
        let priority = self.choose(&[(1, 20), (2, 45), (3, 35)]);
        self.statistics.opened[priority - 1][origin] += 1;
        self.first_priorities.insert(id, priority);
        let call = Call {
            id,
            priority,
            origin,
            status: Status::Pending,
            units: Vec::new(),
            opened_at: now,
            updated_at: now,
        };
        self.active.insert(id, call);
        if origin == 2 && !self.free_units.is_empty() {
            // Seen by a unit that deals with it at once.
            self.take(now, id);
        } else if self.is_likely(0.04) {
            let wait = Duration::from_secs(30) + self.exponential(300.0);
            self.expect(now + wait, Event::Close(id));
        } else {
            let wait = Duration::from_secs(10) + self.exponential([40.0, 80.0, 170.0][priority - 1]);
            self.expect(now + wait.min(Duration::from_secs(1800)), Event::Take(id));
        }
        if priority > 1 && self.is_likely(0.06) {
            let delay = Duration::from_secs(self.random.u64(30..180));
            self.expect(now + delay, Event::Raise(id));
        }
    }

    fn take(&mut self, now: Duration, id: u64) {
        let Some(call) = self.active.get_mut(&id) else {
            return;
        };
        let Some(unit) = take_one(&mut self.free_units, &mut self.random) else {
            self.expect(now + Duration::from_secs(15), Event::Take(id));
            return;
        };
        call.units.push(unit);
        call.status = Status::Active;
        call.updated_at = now;
        let (priority, opened_at) = (call.priority, call.opened_at);
        if now > opened_at {
            keep(&mut self.statistics.waits, now, opened_at);
        }
        if self.is_likely([0.9, 0.4, 0.15][priority - 1]) {
            let delay = Duration::from_secs(self.random.u64(5..90));
            self.expect(now + delay, Event::Join(id));
        }
        let length = if self.is_likely(0.15) {
            Duration::from_millis(self.random.u64(10_000..40_000))
        } else {
            Duration::from_secs(60) + self.exponential([480.0, 360.0, 240.0][priority - 1])
        };
        self.expect(now + length.min(Duration::from_secs(7200)), Event::Close(id));
    }

    fn join(&mut self, now: Duration, id: u64) {
        let Some(call) = self.active.get_mut(&id) else {
            return;
        };
        if let Some(unit) = take_one(&mut self.free_units, &mut self.random) {
            call.units.push(unit);
            call.updated_at = now;
        }
        if self.is_likely(0.3) {
            self.expect(now + Duration::from_secs(60), Event::Join(id));
        }
    }

    fn raise(&mut self, now: Duration, id: u64) {
        if let Some(call) = self.active.get_mut(&id) {
            call.priority = (call.priority - 1).max(1);
            call.updated_at = now;
        }
    }

    fn close(&mut self, now: Duration, id: u64) {
        let (Some(mut call), Some(first_priority)) = (self.active.remove(&id), self.first_priorities.remove(&id))
        else {
            return;
        };
        self.statistics.closed[first_priority - 1][call.origin] += 1;
        keep(&mut self.statistics.durations, now, call.opened_at);
        self.free_units.extend(&call.units);
        call.status = Status::Closed;
        call.updated_at = now;
        self.closed.push_front(call);
        self.closed.truncate(MAX_CLOSED);
    }

    fn is_likely(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }

    /// A random, exponentially distributed time with this mean in seconds.
    fn exponential(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() * mean)
    }

    /// One of the values, by their weights.
    fn choose(&mut self, weights: &[(usize, u32)]) -> usize {
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut place = self.random.u32(..sum);
        for (value, weight) in weights {
            match place.checked_sub(*weight) {
                Some(rest) => place = rest,
                None => return *value,
            }
        }
        unreachable!("the place is below the sum of the weights")
    }
}

/// How busy it is at this time of day and week, beside an average hour.
fn rhythm(unix: Duration, utc_offset: i32) -> f64 {
    let local = unix.as_secs().saturating_add_signed(i64::from(utc_offset));
    let hour = local / 3600 % 24;
    // 1970 began on a Thursday.
    let day = (local / 86_400 + 3) % 7;
    RHYTHM[usize::try_from(hour).unwrap_or_default()] * WEEK[usize::try_from(day).unwrap_or_default()]
}

/// The place of an emergency call's kind in the statistics: emergency, civil.
fn kind(call: &EmergencyCall) -> usize {
    usize::from(!call.is_emergency)
}

/// Takes any of the units.
fn take_one(units: &mut Vec<u32>, random: &mut fastrand::Rng) -> Option<u32> {
    (!units.is_empty()).then(|| units.swap_remove(random.usize(..units.len())))
}

fn keep(times: &mut VecDeque<f64>, now: Duration, since: Duration) {
    times.push_back(now.saturating_sub(since).as_secs_f64());
    if times.len() > MAX_TIMES {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_hour_of_the_week_is_average() {
        let mean = |table: &[f64]| table.iter().sum::<f64>() / f64::from(u32::try_from(table.len()).unwrap());
        assert!((mean(&RHYTHM) - 1.0).abs() < 1e-9, "{}", mean(&RHYTHM));
        assert!((mean(&WEEK) - 1.0).abs() < 1e-9, "{}", mean(&WEEK));
        let busiest = |table: &[f64]| table.iter().copied().fold(0.0, f64::max);
        assert!(busiest(&RHYTHM) * busiest(&WEEK) < PEAK);
    }
}
