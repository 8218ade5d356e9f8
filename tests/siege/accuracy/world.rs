//! A community whose truth is known: every call of a day, made up before it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Origins by the API's number.
pub(super) const OBSERVED: usize = 2;

/// A dispatch call. Times are seconds from the beginning of the simulation.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    id: u64,
    pub(super) came: f64,
    pub(super) taken: f64,
    pub(super) closed: f64,
    priority: u32,
    pub(super) origin: usize,
    made_from: Option<u64>,
}

/// A call that waits for a dispatcher.
#[derive(Clone, Debug)]
pub(super) struct Emergency {
    id: u64,
    pub(super) came: f64,
    pub(super) left: f64,
}

/// What happens on one server.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) dispatch: Vec<Dispatch>,
    pub(super) emergency: Vec<Emergency>,
    /// When the CAD is wiped: its calls are gone, and ids begin anew.
    wipes: Vec<f64>,
}

/// What is particular about a world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) seed: u64,
    /// In seconds.
    pub(super) length: u32,
    pub(super) calls_per_hour: f64,
    /// The CAD is wiped after so many seconds, each time.
    pub(super) wiped_every: Option<u32>,
    /// Ids of emergency calls come in no order.
    pub(super) has_odd_emergency_ids: bool,
}

/// Numbers that look random and are the same each time (splitmix64).
struct Random(u64);

impl Random {
    /// Evenly between 0 and 1.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        f64::from(u32::try_from(bits >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Of an exponential distribution with this mean.
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even() * 0.999_999).ln()
    }
}

impl World {
    /// Waits are 70 s on average, of which 83 % are within two minutes; calls last 370 s. Half of the callers' calls
    /// come by an emergency call, which waits 45 s; of five emergency calls, one is never dispatched.
    pub(super) fn new(habits: Habits) -> Self {
        let mut random = Random(habits.seed);
        let end = f64::from(habits.length);
        let every = habits.wiped_every.map_or(f64::INFINITY, f64::from);
        let mut wipes = Vec::new();
        let mut wipe = every;
        while wipe < end {
            wipes.push(wipe);
            wipe += every;
        }
        let mut world = Self {
            dispatch: Vec::new(),
            emergency: Vec::new(),
            wipes,
        };
        let mut calls = BTreeMap::new();
        let mut now = 0.0;
        loop {
            now += random.exponential(3600.0 / habits.calls_per_hour);
            if now > end {
                break;
            }
            let origin = match random.even() {
                part if part < 0.6 => 0,
                part if part < 0.75 => 1,
                part if part < 0.9 => OBSERVED,
                _ => 3,
            };
            let has_emergency = origin == 0 && random.even() < 0.5;
            let came = now + if has_emergency { random.exponential(45.0) } else { 0.0 };
            let wait = if origin == OBSERVED {
                0.0
            } else {
                5.0 + random.exponential(65.0)
            };
            let work = 20.0 + random.exponential(280.0);
            let priority = [1, 2, 3][usize::from(random.even() > 0.33) + usize::from(random.even() > 0.5)];
            // By when they come, since ids rise.
            calls.insert(
                (micros(came), false),
                (came, wait, work, priority, origin, has_emergency.then_some(now)),
            );
            if has_emergency {
                calls.insert((micros(now), true), (now, came - now, 0.0, 0, 0, None));
                if random.even() < 0.25 {
                    let wait = random.exponential(60.0);
                    let came = now + 1e-6;
                    calls.insert((micros(came), true), (came, wait, 0.0, 0, 0, None));
                }
            }
        }
        let mut next_id = 1;
        let mut next_emergency_id = 1;
        let mut life = 0;
        let mut ids_of_emergencies = BTreeMap::new();
        for ((_, is_emergency), (came, wait, work, priority, origin, made_from)) in calls {
            if world.life(came) != life {
                life = world.life(came);
                (next_id, next_emergency_id) = (1, 1);
            }
            let dies = world
                .wipes
                .iter()
                .copied()
                .find(|at| *at > came)
                .unwrap_or(f64::INFINITY);
            if is_emergency {
                let id = if habits.has_odd_emergency_ids {
                    // Never 0, which stands for none where a dispatch call names it.
                    (next_emergency_id ^ 0x35) + 1
                } else {
                    next_emergency_id
                };
                next_emergency_id += 1;
                ids_of_emergencies.insert(micros(came), id);
                world.emergency.push(Emergency {
                    id,
                    came,
                    left: (came + wait).min(dies),
                });
            } else {
                world.dispatch.push(Dispatch {
                    id: next_id,
                    came,
                    taken: came + wait,
                    closed: (came + wait + work).min(dies),
                    priority,
                    origin,
                    made_from: made_from.and_then(|at| ids_of_emergencies.get(&micros(at)).copied()),
                });
                next_id += 1;
            }
        }
        world
    }

    /// The number of wipes before a moment.
    pub(super) fn life(&self, at: f64) -> usize {
        self.wipes.iter().filter(|wipe| **wipe <= at).count()
    }

    /// What the CAD answers, and the indices of the calls in it: open, closed, emergency.
    pub(super) fn answer(&self, at: f64, limit: usize, offset: usize) -> (Value, Seen) {
        let begin = self.wipes.iter().copied().rfind(|wipe| *wipe <= at).unwrap_or(0.0);
        let in_life = |came: f64| came >= begin && came <= at;
        let mut seen = Seen::default();
        let mut closed = Vec::new();
        for (index, call) in self.dispatch.iter().enumerate() {
            if in_life(call.came) {
                if call.closed > at {
                    seen.open.push(index);
                } else {
                    closed.push(index);
                }
            }
        }
        closed.sort_by(|one, other| self.dispatch[*other].closed.total_cmp(&self.dispatch[*one].closed));
        seen.closed = closed.into_iter().skip(offset).take(limit).collect();
        for (index, call) in self.emergency.iter().enumerate() {
            if in_life(call.came) && call.left > at {
                seen.emergency.push(index);
            }
        }
        let write = |index: &usize| {
            let call = &self.dispatch[*index];
            let status = [(call.closed, 2), (call.taken, 1)]
                .iter()
                .find(|(since, _)| *since <= at)
                .map_or(0, |(_, status)| *status);
            let meta_data = call.made_from.map(|id| json!({"createdFromId": id.to_string()}));
            json!({"callId": call.id, "priority": call.priority, "status": status, "origin": call.origin, "idents": [],
                   "metaData": meta_data})
        };
        let emergencies = seen
            .emergency
            .iter()
            .map(|index| json!({"callId": self.emergency[*index].id, "isEmergency": true}));
        let answer = json!({
            "activeCalls": seen.open.iter().map(write).collect::<Vec<_>>(),
            "emergencyCalls": emergencies.collect::<Vec<_>>(),
            "closedCalls": seen.closed.iter().map(write).collect::<Vec<_>>(),
        });
        (answer, seen)
    }

    /// The emergency call that a dispatch call was made from.
    pub(super) fn made_from(&self, index: usize) -> Option<usize> {
        let call = &self.dispatch[index];
        let life = self.life(call.came);
        let id = call.made_from?;
        let is_it = |emergency: &Emergency| emergency.id == id && self.life(emergency.came) == life;
        self.emergency.iter().position(is_it)
    }
}

/// The calls that one answer shows, by their place in the world.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) open: Vec<usize>,
    pub(super) closed: Vec<usize>,
    pub(super) emergency: Vec<usize>,
}

/// Seconds as a key that can be sorted.
fn micros(seconds: f64) -> u128 {
    Duration::from_secs_f64(seconds).as_micros()
}

/// Seconds since `begin`.
pub(super) fn seconds(at: Duration, begin: Duration) -> f64 {
    at.checked_sub(begin).unwrap().as_secs_f64()
}
