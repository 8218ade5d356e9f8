//! The time: from the system, or moved by hand.
//!
//! Rules about time are decided on [`Now::instant`], which never steps; [`Now::unix`] is for people
//! and Prometheus.

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

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
    System,
    /// A clock that stands still until it is moved.
    Manual(ManualClock),
}

/// A clock that stands still until it is moved; clones share it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Now>>);

impl Clock {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::System => Now {
                instant: Instant::now(),
                // Before 1970 the wall clock is unset, and zero says so.
                unix: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default(),
            },
            Self::Manual(clock) => *clock.0.lock(),
        }
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
}
