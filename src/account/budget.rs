//! How many requests an account may make to one endpoint.

use std::time::{Duration, Instant};

use crate::clock::Now;

/// How long a request counts after its answer.
///
/// The API counts requests within any 60 s from when they arrive, which is before the answer. A slot that counted
/// from the start of the request could be free here before the API sees it as free.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

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

    /// How long it takes until a slot may be taken; `None` if that is not known, because requests are in flight.
    pub(super) fn wait(&mut self, now: Now) -> Option<Duration> {
        self.answered_at.retain(|answered_at| counts(*answered_at, now));
        self.answered_at.sort_unstable();
        match self.surplus().checked_sub(1) {
            None => Some(Duration::ZERO),
            Some(last) => Some((*self.answered_at.get(last)? + WINDOW).saturating_duration_since(now.instant)),
        }
    }

    /// Takes the slot that [`Self::wait`] found.
    pub(super) fn take(&mut self) {
        if let Some(last) = self.surplus().checked_sub(1) {
            self.answered_at.remove(last);
        }
        self.in_flight += 1;
    }

    /// How many requests must no longer count before one more may be sent.
    fn surplus(&self) -> usize {
        (self.in_flight + self.answered_at.len() + 1).saturating_sub(self.slots)
    }

    /// Whether any slot is taken at `now`.
    pub(super) fn is_in_use(&self, now: Now) -> bool {
        self.in_flight > 0 || self.answered_at.iter().any(|answered_at| counts(*answered_at, now))
    }

    /// Notes that the request of one taken slot was answered; `None`: that it was not sent.
    pub(super) fn end_request(&mut self, answered_at: Option<Now>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered_at.extend(answered_at.map(|now| now.instant));
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

    impl Budget {
        /// Takes a slot that is free at `now` or will be within `patience`. Returns how long to wait for it.
        fn try_take(&mut self, now: Now, patience: Duration) -> Option<Duration> {
            let wait = self.wait(now).filter(|wait| *wait <= patience)?;
            self.take();
            Some(wait)
        }
    }

    #[test]
    fn a_slot_is_held_until_a_minute_after_the_answer() {
        let (mut budget, start) = (Budget::new(2), Clock::system().now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let now = Some(Duration::ZERO);
        assert_eq!(budget.try_take(start, Duration::ZERO), now);
        assert_eq!(budget.try_take(start, Duration::ZERO), now);
        assert_eq!(budget.try_take(at(1), Duration::MAX), None);
        budget.end_request(Some(at(8)));
        assert_eq!(budget.try_take(at(67), Duration::ZERO), None);
        assert_eq!(budget.try_take(at(68), Duration::ZERO), now);
        assert_eq!(
            budget.try_take(at(3600), Duration::MAX),
            None,
            "the other request has not been answered yet"
        );
    }

    #[test]
    fn a_slot_that_will_soon_be_free_can_be_taken_once() {
        let (mut budget, start) = (Budget::new(3), Clock::system().now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for seconds in [2, 0, 9] {
            assert!(budget.try_take(start, Duration::ZERO).is_some());
            budget.end_request(Some(at(seconds)));
        }
        let patience = Duration::from_secs(3);
        assert_eq!(budget.try_take(at(56), patience), None);
        assert_eq!(budget.try_take(at(59), patience), Some(Duration::from_secs(1)));
        assert_eq!(budget.try_take(at(59), patience), Some(Duration::from_secs(3)));
        assert_eq!(budget.try_take(at(59), patience), None, "10 s are too long");
        assert_eq!(budget.try_take(at(66), patience), Some(Duration::from_secs(3)));
        assert_eq!(budget.try_take(at(200), patience), None, "none is answered");
    }

    #[test]
    fn a_smaller_budget_waits_until_enough_slots_are_free() {
        let (mut budget, start) = (Budget::new(2), Clock::system().now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut try_take = |seconds| budget.try_take(at(seconds), Duration::ZERO);
        assert!(try_take(0).is_some() && try_take(0).is_some());
        budget.end_request(Some(at(1)));
        budget.end_request(Some(at(2)));
        budget.resize(1);
        assert_eq!(
            budget.try_take(at(60), Duration::from_secs(2)),
            Some(Duration::from_secs(2)),
            "both must no longer count"
        );
        budget.end_request(Some(at(60)));
        assert_eq!(budget.try_take(at(62), Duration::ZERO), None);
        assert!(budget.is_in_use(at(119)) && !budget.is_in_use(at(120)));
    }
}
