//! One key at one address: what all servers share that are read with it, of whatever community.

use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::{Budget, Pause};
use crate::clock::Now;

/// One key at one address of the API.
#[derive(Debug)]
pub(super) struct Account {
    /// Locked after a server's state, never before it, and never across an `.await`.
    limits: Mutex<Limits>,
}

#[derive(Debug)]
struct Limits {
    budget: Budget,
    pause: Pause,
}

impl Account {
    pub(super) fn new(requests_per_minute: u32) -> Self {
        let limits = Limits {
            budget: Budget::new(requests_per_minute),
            pause: Pause::default(),
        };
        Self {
            limits: Mutex::new(limits),
        }
    }

    /// Changes the budget; requests that still count go on counting.
    pub(super) fn set_budget(&self, requests_per_minute: u32) {
        self.limits.lock().budget.set(requests_per_minute);
    }

    /// Takes a slot of the budget, unless there is none or the account is paused.
    pub(super) fn try_take(&self, now: Now) -> bool {
        let mut limits = self.limits.lock();
        !limits.pause.holds(now) && limits.budget.try_take(now)
    }

    /// Notes the answer to the request of one taken slot.
    pub(super) fn answer(&self, now: Now) {
        self.limits.lock().budget.answer(now);
    }

    /// Lets no server ask for `duration` from `now`. A success of another server, which began
    /// before, does not lift it.
    pub(super) fn extend_pause(&self, now: Now, duration: Duration) {
        self.limits.lock().pause.extend(now + duration);
    }

    /// Whether it still matters what has been asked: slots are taken, or a pause holds.
    pub(super) fn still_counts(&self, now: Now) -> bool {
        let limits = self.limits.lock();
        limits.pause.holds(now) || limits.budget.still_counts(now)
    }

    pub(super) fn pause(&self) -> Pause {
        self.limits.lock().pause
    }
}
