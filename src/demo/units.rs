//! The units of one CAD server: they sign on and off, take calls, pause, and now and then are in panic.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use super::agenda::Agenda;
use super::chance::Chance;
use super::discipline::Discipline;
use super::posts::{Dispatcher, Posts};
use super::rhythm::{PEAK, rhythm};
use super::statistics::UnitStatistics;
use super::unit::{Unit, UnitStatus};

/// Units on duty in an average hour: so many, and more for each call per hour. A call takes about 10 minutes of their time,
/// so two of three have one. At the demo's default of 240 calls per hour, one page of an answer is enough even at the peak.
const MIN_UNITS: f64 = 7.0;
const UNITS_PER_CALL: f64 = 0.2;

/// All units that ever sign on, for each one on duty in an average hour. An id therefore comes back after a while.
const ROSTER: f64 = 4.0;

/// Mean times in seconds: how long a unit stays beyond its first 20 minutes, how long it works until it pauses, how long
/// a pause is, and the time between two panics on a server.
const SHIFT: f64 = 3600.0;
const WORK: f64 = 1800.0;
const PAUSE: f64 = 180.0;
const PANIC: f64 = 1200.0;

/// The share of units that leave within a minute, and the share that is back within 90 s, after a crash of the game.
const SHORT_VISITS: f64 = 0.04;
const SHORT_ABSENCES: f64 = 0.04;

/// A future event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Somebody signs on, if fewer are on duty than it should be at this time of day.
    SignOn,
    /// A unit that was gone for a moment is back.
    Return(u32),
    /// The status of a unit becomes another one, unless it has changed since this change.
    Change(u32, u64, UnitStatus),
    /// A unit pauses if it has no call. This and the next two concern one visit only.
    Pause(u32, u64),
    SignOff(u32, u64),
    Calm(u32, u64),
    /// One of the units with a call is in panic.
    Panic,
    /// The dispatcher at this post goes, or the next one comes.
    Relief(usize),
}

/// The units of a server.
#[derive(Debug)]
pub(super) struct Units {
    chance: Chance,
    agenda: Agenda<Event>,
    /// How many are on duty in an average hour.
    average: f64,
    utc_offset: i32,
    on_duty: BTreeMap<u32, Unit>,
    off_duty: Vec<u32>,
    posts: Posts,
    changes: u64,
    /// What has happened; what is true now is not kept here.
    statistics: UnitStatistics,
}

impl Units {
    /// The units of a server that begins to live at `unix`: those that this time of day needs are on duty.
    pub(super) fn new(settings: &Settings, chance: Chance, unix: Duration) -> Self {
        let average = MIN_UNITS + UNITS_PER_CALL * f64::from(settings.calls_per_hour);
        let roster = whole(average * ROSTER);
        let mut units = Self {
            chance,
            agenda: Agenda::new(),
            average,
            utc_offset: settings.utc_offset,
            on_duty: BTreeMap::new(),
            off_duty: (1..=roster).collect(),
            posts: Posts::new(roster + 1),
            changes: 0,
            statistics: UnitStatistics::default(),
        };
        for _ in 0..units.wanted(unix) {
            units.sign_on_any(unix);
        }
        units.agenda.add(unix, Event::SignOn);
        units.agenda.add(unix, Event::Panic);
        for post in 0..Posts::COUNT {
            let stay = units.chance.seconds(0..4 * 3600);
            units.agenda.add(unix + stay, Event::Relief(post));
        }
        units
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.agenda.next_at()
    }

    /// Lets the next event happen.
    pub(super) fn happen(&mut self) {
        let Some((now, event)) = self.agenda.pop() else {
            return;
        };
        match event {
            Event::SignOn => self.perhaps_sign_on(now),
            Event::Return(id) => self.sign_on(now, id),
            Event::Change(id, change, status) => {
                if self.on_duty.get(&id).is_some_and(|unit| unit.change == change) {
                    self.change(id, status);
                }
            }
            Event::Pause(id, visit) => self.pause(now, id, visit),
            Event::SignOff(id, visit) => self.sign_off(now, id, visit),
            Event::Calm(id, visit) => {
                if let Some(unit) = self.visitor(id, visit) {
                    unit.is_in_panic = false;
                }
            }
            Event::Panic => self.panic(now),
            Event::Relief(post) => {
                let stay = self.posts.relieve(post, &mut self.chance);
                self.agenda.add(now + stay, Event::Relief(post));
            }
        }
    }

    /// Units on duty, by id.
    pub(super) fn on_duty(&self) -> impl Iterator<Item = (u32, &Unit)> {
        self.on_duty.iter().map(|(id, unit)| (*id, unit))
    }

    pub(super) fn dispatchers(&self) -> impl Iterator<Item = Dispatcher> {
        self.posts.dispatchers()
    }

    /// The ids of the units that are not on duty.
    pub(super) fn off_duty(&self) -> impl Iterator<Item = u32> {
        (1..self.posts.first_id()).filter(|id| !self.on_duty.contains_key(id))
    }

    /// What is true at `unix`, up to which everything must have happened.
    pub(super) fn statistics(&self, unix: Duration) -> UnitStatistics {
        let mut statistics = self.statistics.clone();
        statistics.dispatchers = self.dispatchers().map(|_| 1).sum();
        for (id, unit) in self.on_duty() {
            let discipline = unit.discipline;
            statistics.on_duty[discipline as usize][unit.status as usize] += 1;
            *statistics.departments.entry(discipline.department(id)).or_default() += 1;
            statistics.in_panic += u64::from(unit.is_in_panic);
            statistics.unit_seconds[discipline as usize] += unix.saturating_sub(unit.since).as_secs_f64();
        }
        statistics
    }

    pub(super) fn is_any_free(&self) -> bool {
        self.on_duty.values().any(Unit::is_free)
    }

    /// Sends a unit to a call, one of this discipline if there is a free one. `is_there`: it is on the scene already.
    pub(super) fn dispatch(&mut self, now: Duration, discipline: Discipline, is_there: bool) -> Option<u32> {
        let free = || self.on_duty().filter(|(_, unit)| unit.is_free());
        let mut ids: Vec<_> = free()
            .filter(|(_, unit)| unit.discipline == discipline)
            .map(|(id, _)| id)
            .collect();
        if ids.is_empty() {
            ids = free().map(|(id, _)| id).collect();
        }
        let id = self.chance.take(&mut ids)?;
        if is_there {
            self.change(id, UnitStatus::OnScene);
        } else {
            let change = self.change(id, UnitStatus::EnRoute);
            let way = Duration::from_secs(15) + self.chance.exponential(60.0);
            self.agenda
                .add(now + way, Event::Change(id, change, UnitStatus::OnScene));
        }
        Some(id)
    }

    /// Takes the units off their call.
    pub(super) fn release(&mut self, now: Duration, ids: &[u32]) {
        for id in ids {
            if self.on_duty.get(id).is_some_and(|unit| unit.is_leaving) {
                self.leave(now, *id);
            } else {
                self.change(*id, UnitStatus::Available);
            }
        }
    }

    /// How many should be on duty.
    fn wanted(&self, now: Duration) -> u32 {
        whole(self.average * rhythm(now, self.utc_offset))
    }

    fn perhaps_sign_on(&mut self, now: Duration) {
        // As many as leave in the busiest hour, and some more, so that there are soon as many as wanted.
        let pause = SHIFT / (self.average * PEAK);
        let next = self.chance.exponential(pause);
        self.agenda.add(now + next, Event::SignOn);
        if self.on_duty.len() < self.wanted(now) as usize {
            self.sign_on_any(now);
        }
    }

    fn sign_on_any(&mut self, now: Duration) {
        if let Some(id) = self.chance.take(&mut self.off_duty) {
            self.sign_on(now, id);
        }
    }

    fn sign_on(&mut self, now: Duration, id: u32) {
        self.changes += 1;
        let visit = self.changes;
        let unit = Unit::new(id, now, visit);
        self.statistics.signed_on[unit.discipline as usize] += 1;
        self.on_duty.insert(id, unit);
        let stay = if self.chance.is_likely(SHORT_VISITS) {
            self.chance.seconds(5..60)
        } else {
            Duration::from_secs(1200) + self.chance.exponential(SHIFT).min(Duration::from_secs(6 * 3600))
        };
        self.agenda.add(now + stay, Event::SignOff(id, visit));
        let preparation = self.chance.seconds(5..60);
        self.agenda
            .add(now + preparation, Event::Change(id, visit, UnitStatus::Available));
        let work = self.chance.exponential(WORK);
        self.agenda.add(now + work, Event::Pause(id, visit));
    }

    /// A unit with a call deals with it first.
    fn sign_off(&mut self, now: Duration, id: u32, visit: u64) {
        if let Some(unit) = self.visitor(id, visit) {
            unit.is_leaving = true;
            if !unit.has_call() {
                self.leave(now, id);
            }
        }
    }

    fn leave(&mut self, now: Duration, id: u32) {
        let Some(unit) = self.on_duty.remove(&id) else {
            return;
        };
        let discipline = unit.discipline as usize;
        self.statistics.signed_off[discipline] += 1;
        self.statistics.unit_seconds[discipline] += now.saturating_sub(unit.since).as_secs_f64();
        if self.chance.is_likely(SHORT_ABSENCES) {
            let absence = self.chance.seconds(5..90);
            self.agenda.add(now + absence, Event::Return(id));
        } else {
            self.off_duty.push(id);
        }
    }

    fn pause(&mut self, now: Duration, id: u32, visit: u64) {
        let Some(unit) = self.visitor(id, visit) else {
            return;
        };
        if unit.is_free() {
            let status = if self.chance.is_likely(0.7) {
                UnitStatus::Busy
            } else {
                UnitStatus::Unavailable
            };
            let change = self.change(id, status);
            let pause = Duration::from_secs(30) + self.chance.exponential(PAUSE);
            self.agenda
                .add(now + pause, Event::Change(id, change, UnitStatus::Available));
        }
        let work = self.chance.exponential(WORK);
        self.agenda.add(now + work, Event::Pause(id, visit));
    }

    fn panic(&mut self, now: Duration) {
        let next = self.chance.exponential(PANIC);
        self.agenda.add(now + next, Event::Panic);
        let with_call = self.on_duty.iter().filter(|(_, unit)| unit.has_call());
        let mut ids: Vec<_> = with_call.map(|(id, _)| *id).collect();
        let Some(id) = self.chance.take(&mut ids) else {
            return;
        };
        let panic = self.chance.seconds(15..150);
        if let Some(unit) = self.on_duty.get_mut(&id) {
            unit.is_in_panic = true;
            self.agenda.add(now + panic, Event::Calm(id, unit.visit));
        }
    }

    /// Changes the status of a unit; returns the number of the change.
    fn change(&mut self, id: u32, status: UnitStatus) -> u64 {
        self.changes += 1;
        if let Some(unit) = self.on_duty.get_mut(&id) {
            unit.status = status;
            unit.change = self.changes;
        }
        self.changes
    }

    /// The unit, if it has not signed off since it signed on with this number.
    fn visitor(&mut self, id: u32, visit: u64) -> Option<&mut Unit> {
        self.on_duty.get_mut(&id).filter(|unit| unit.visit == visit)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of units, which is positive and small"
)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}
