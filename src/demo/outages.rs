//! Outages and rate limits without a cause: one of each soon, then rarely.

use std::time::Duration;

/// When the first one begins and ends. With a request every 30 s, exactly one fails, which leaves no gap in the
/// counts of calls.
const FIRST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(90));

/// The time between two of them, and how long one lasts, in seconds.
const PAUSE_SECONDS: std::ops::RangeInclusive<u64> = 1200..=3600;
const LENGTH_SECONDS: std::ops::RangeInclusive<u64> = 40..=180;

/// What is wrong with the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A gateway answers in its place.
    Outage,
    /// The limit is reached, for this long.
    RateLimited(Duration),
}

/// The outages of one API, in turn.
#[derive(Debug)]
pub(super) struct Outages {
    is_possible: bool,
    random: fastrand::Rng,
    begin: Duration,
    end: Duration,
    is_outage: bool,
}

impl Outages {
    pub(super) fn new(is_possible: bool, random: fastrand::Rng) -> Self {
        let (begin, end) = FIRST;
        Self {
            is_possible,
            random,
            begin,
            end,
            is_outage: true,
        }
    }

    /// What is wrong at this time since the start of the simulation.
    pub(super) fn at(&mut self, elapsed: Duration) -> Option<Fault> {
        while self.end <= elapsed {
            // The second one comes soon as well, so that a first look shows both kinds.
            let is_early = self.end == FIRST.1;
            let pause = if is_early { 240 } else { self.random.u64(PAUSE_SECONDS) };
            let length = if is_early { 40 } else { self.random.u64(LENGTH_SECONDS) };
            self.begin = self.end + Duration::from_secs(pause);
            self.end = self.begin + Duration::from_secs(length);
            self.is_outage = !self.is_outage;
        }
        if !self.is_possible || elapsed < self.begin {
            None
        } else if self.is_outage {
            Some(Fault::Outage)
        } else {
            Some(Fault::RateLimited(self.end.saturating_sub(elapsed)))
        }
    }
}
