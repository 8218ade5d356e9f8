//! How many requests an account may make to one endpoint.

use std::time::{Duration, Instant};

use crate::clock::Now;

/// How long a request counts after its answer.
///
/// The API counts requests within any 60 s from when they arrive, which is before the answer. A slot that counted
/// from the start of the request could be free here before the API sees it as free.
const WINDOW: Duration = Duration::from_secs(60);

/// The requests within any 60 s.
///
/// A slot is taken when a request is sent and is free again 60 s after its answer.
#[derive(Debug)]
pub(super) struct Budget {
    slots: usize,
    in_flight: usize,
    /// When the requests that still count were answered.
    answered_at: Vec<Instant>,
}

impl Budget {
    pub(super) fn new(requests_per_minute: u32) -> Self {
        Self {
            slots: slots(requests_per_minute),
            in_flight: 0,
            answered_at: Vec::new(),
        }
    }

    /// Changes the budget; requests that still count keep their slots.
    pub(super) fn resize(&mut self, requests_per_minute: u32) {
        self.slots = slots(requests_per_minute);
    }

    /// Takes a slot; `false` if none is free at `now`.
    pub(super) fn try_take(&mut self, now: Now) -> bool {
        self.answered_at.retain(|answered_at| counts(*answered_at, now));
        let is_free = self.in_flight + self.answered_at.len() < self.slots;
        self.in_flight += usize::from(is_free);
        is_free
    }

    /// Whether any slot is taken at `now`.
    pub(super) fn is_in_use(&self, now: Now) -> bool {
        self.in_flight > 0 || self.answered_at.iter().any(|answered_at| counts(*answered_at, now))
    }

    /// Notes that the request of one taken slot has ended.
    pub(super) fn end_request(&mut self, now: Now) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered_at.push(now.instant);
    }
}

/// Whether a request answered at this moment still counts.
fn counts(answered_at: Instant, now: Now) -> bool {
    now.instant.saturating_duration_since(answered_at) < WINDOW
}

fn slots(requests_per_minute: u32) -> usize {
    usize::try_from(requests_per_minute).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_slot_is_held_until_a_minute_after_the_answer() {
        let (mut budget, start) = (Budget::new(2), Clock::System.now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(budget.try_take(start));
        assert!(budget.try_take(start));
        assert!(!budget.try_take(at(1)));
        budget.end_request(at(8));
        assert!(!budget.try_take(at(67)));
        assert!(budget.try_take(at(68)));
        assert!(
            !budget.try_take(at(3600)),
            "the other request has not been answered yet"
        );
    }

    #[test]
    fn a_smaller_budget_waits_until_enough_slots_are_free() {
        let (mut budget, start) = (Budget::new(2), Clock::System.now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(budget.try_take(start) && budget.try_take(start));
        budget.end_request(at(1));
        budget.end_request(at(2));
        budget.resize(1);
        assert!(!budget.try_take(at(61)), "one of them still counts");
        assert!(budget.is_in_use(at(61)) && !budget.is_in_use(at(62)));
        assert!(budget.try_take(at(62)));
    }
}
