//! How many requests an account may make.

use std::time::{Duration, Instant};

use crate::clock::Now;

/// How long a request counts after its answer.
///
/// The API counts requests within any 60 s from when they arrive, which is before the answer; a
/// slot that counted from the start could be free before the API sees it so.
const WINDOW: Duration = Duration::from_secs(60);

/// The requests of one account within any 60 s.
///
/// A slot is held from sending until 60 s after the answer.
#[derive(Debug)]
pub struct Budget {
    slots: usize,
    in_flight: usize,
    /// When the requests that still count were answered.
    answered_at: Vec<Instant>,
}

impl Budget {
    /// A budget of so many requests per minute.
    #[must_use]
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            slots: requests_per_minute as usize,
            in_flight: 0,
            answered_at: Vec::new(),
        }
    }

    /// Changes the budget; what still counts goes on counting.
    pub fn set(&mut self, requests_per_minute: u32) {
        self.slots = requests_per_minute as usize;
    }

    /// Takes a slot, if one is free at `now`.
    pub fn try_take(&mut self, now: Now) -> bool {
        self.answered_at.retain(|answered_at| counts(*answered_at, now));
        let is_free = self.in_flight + self.answered_at.len() < self.slots;
        self.in_flight += usize::from(is_free);
        is_free
    }

    /// Whether any slot is taken at `now`.
    #[must_use]
    pub fn still_counts(&self, now: Now) -> bool {
        self.in_flight > 0 || self.answered_at.iter().any(|answered_at| counts(*answered_at, now))
    }

    /// Notes the answer to the request of one taken slot, or that there will be none.
    pub fn answer(&mut self, now: Now) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered_at.push(now.instant);
    }
}

/// Whether a request that was answered then still counts.
fn counts(answered_at: Instant, now: Now) -> bool {
    now.instant.saturating_duration_since(answered_at) < WINDOW
}
