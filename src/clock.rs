//! The time: from the system, or moved by hand.
//!
//! Rules about time are decided on [`Now::instant`], which never steps; [`Now::unix`] is for people and Prometheus.
//! What happened at a moment is kept as an [`Instant`], and becomes a Unix time only when it is shown
//! ([`Now::unix_at`]), so that a wall clock that steps, or was wrong at the start, falsifies nothing.

mod moment;

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

pub(crate) use self::moment::{as_unix, as_unix_option, as_unix_values, with_reference};

/// How far the wall clock may drift from the steady clock before it counts as having stepped. Without it, every scrape
/// would show another fraction of a second.
const MAX_DRIFT: Duration = Duration::from_millis(500);

/// How far another machine's clock may be from what is shown of it.
const MAX_SKEW: Duration = Duration::from_millis(50);

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On the steady clock.
    pub instant: Instant,
    /// Since 1970-01-01T00:00:00Z on the wall clock, which may step.
    pub unix: Duration,
}

/// A source of [`Now`].
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clocks.
    System(SystemClock),
    /// A clock that stands still until it is moved.
    Manual(ManualClock),
}

/// The system's clocks; clones share the moment at which both were read together.
#[derive(Clone, Debug, Default)]
pub struct SystemClock(Arc<Mutex<Reference>>);

/// What the wall clock shows.
#[derive(Clone, Copy, Debug, Default)]
struct Reference {
    /// The moment at which it was read.
    now: Option<Now>,
    /// Whether it is another machine's, so that the system's own does not matter.
    is_foreign: bool,
}

/// A clock that stands still until it is moved; clones share it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Now>>);

impl Clock {
    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::System(SystemClock::default())
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::System(clock) => clock.now(),
            Self::Manual(clock) => *clock.0.lock(),
        }
    }

    /// Shows another machine's wall clock from now on: it showed `unix` at some moment between `sent_at` and `now`. A clock
    /// that is moved by hand stays as it is.
    pub fn follow(&self, sent_at: Now, unix: Duration) {
        if let Self::System(clock) = self {
            clock.follow(sent_at, unix);
        }
    }

    /// Whether another machine's clock is shown.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::System(clock) if clock.0.lock().is_foreign)
    }

    /// Waits. A clock that is moved by hand moves by itself to the moment that is waited for.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Self::System(_) => tokio::time::sleep(duration).await,
            Self::Manual(clock) => clock.advance_to(self.now().instant + duration),
        }
    }
}

impl SystemClock {
    fn now(&self) -> Now {
        // Before 1970 the wall clock is unset, and zero says so.
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let read = Now {
            instant: Instant::now(),
            unix,
        };
        let mut reference = self.0.lock();
        let steady = reference.now.map(|now| Now {
            instant: read.instant,
            unix: now.unix_at(read.instant),
        });
        match steady {
            Some(steady) if reference.is_foreign || steady.unix.abs_diff(read.unix) <= MAX_DRIFT => steady,
            _ => *reference.now.insert(read),
        }
    }

    /// The reference stays as long as what it shows is possible: moments that were told to other machines by it come back
    /// as they were.
    fn follow(&self, sent_at: Now, unix: Duration) {
        let received_at = Instant::now();
        let mut reference = self.0.lock();
        let is_possible =
            |now: Now| now.unix_at(sent_at.instant) <= unix + MAX_SKEW && unix <= now.unix_at(received_at) + MAX_SKEW;
        if reference.is_foreign && reference.now.is_some_and(is_possible) {
            return;
        }
        let half = received_at.saturating_duration_since(sent_at.instant) / 2;
        *reference = Reference {
            now: Some(Now {
                instant: sent_at.instant + half,
                unix,
            }),
            is_foreign: true,
        };
    }
}

impl ManualClock {
    /// A clock that shows `unix`, the time since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn new(unix: Duration) -> Self {
        let instant = Instant::now();
        Self(Arc::new(Mutex::new(Now { instant, unix })))
    }

    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock();
        *now = *now + duration;
    }

    /// Lets time pass until `instant`, unless that is past.
    fn advance_to(&self, instant: Instant) {
        let mut now = self.0.lock();
        *now = *now + instant.saturating_duration_since(now.instant);
    }

    /// Sets the wall clock, as an administrator or NTP does; no time passes.
    pub fn set_unix(&self, unix: Duration) {
        self.0.lock().unix = unix;
    }
}

impl Add<Duration> for Now {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            instant: self.instant + duration,
            unix: self.unix + duration,
        }
    }
}

impl Now {
    /// The time since `earlier`; zero when that is not earlier.
    #[must_use]
    pub fn since(&self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }

    /// The Unix time of a moment, past or future, by what the wall clock shows now.
    #[must_use]
    pub fn unix_at(&self, moment: Instant) -> Duration {
        let until = moment.saturating_duration_since(self.instant);
        let since = self.instant.saturating_duration_since(moment);
        (self.unix + until).saturating_sub(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_moment_is_shown_by_what_the_wall_clock_shows_now() {
        let clock = ManualClock::new(SECOND);
        let begin = Clock::Manual(clock.clone()).now().instant;
        clock.advance(60 * SECOND);
        clock.set_unix(1_795_392_000 * SECOND);
        let now = Clock::Manual(clock).now();
        assert_eq!(now.unix_at(begin), 1_795_391_940 * SECOND);
        assert_eq!(now.unix_at(begin + 90 * SECOND), 1_795_392_030 * SECOND);
        let early = Now { unix: SECOND, ..now };
        assert_eq!(early.unix_at(begin), Duration::ZERO, "before 1970");
    }

    #[test]
    fn a_moment_is_shown_alike_again_and_again() {
        let clock = Clock::system();
        let begin = clock.now();
        for _ in 0..1000 {
            assert_eq!(clock.now().unix_at(begin.instant), begin.unix);
        }
    }

    #[test]
    fn the_system_clock_follows_a_step() {
        let clock = SystemClock::default();
        let begin = clock.now();
        for step in [3600 * SECOND, Duration::from_millis(501)] {
            clock.0.lock().now.as_mut().unwrap().unix = begin.unix + step;
            assert!(clock.now().unix < begin.unix + step);
        }
    }

    #[test]
    fn another_machines_clock_is_followed_and_shows_moments_alike_as_long_as_it_runs_steadily() {
        let clock = Clock::system();
        let begin = clock.now();
        let theirs = 1000 * SECOND;
        clock.follow(begin, theirs);
        let shown = clock.now().unix_at(begin.instant);
        assert!(shown.abs_diff(theirs) < SECOND, "{shown:?}");
        clock.follow(begin, theirs + Duration::from_millis(1));
        assert_eq!(clock.now().unix_at(begin.instant), shown, "that may be the way");
        clock.follow(clock.now(), theirs + 3600 * SECOND);
        assert!(clock.now().unix > theirs + 3599 * SECOND, "it stepped");
    }

    #[tokio::test]
    async fn a_clock_that_is_moved_by_hand_moves_to_what_is_waited_for() {
        let manual = ManualClock::new(SECOND);
        let clock = Clock::Manual(manual);
        let begin = clock.now();
        clock.sleep(SECOND).await;
        assert_eq!(clock.now(), begin + SECOND);
    }
}
