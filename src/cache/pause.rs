//! A time during which nothing is asked.

use std::time::Duration;

use crate::clock::Now;

/// When asking may begin again. A pause only ever gets longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    until: Option<Now>,
}

impl Pause {
    /// Lets the pause last until `until`, if it would end earlier.
    pub fn extend(&mut self, until: Now) {
        if self.until.is_none_or(|earlier| earlier.instant < until.instant) {
            self.until = Some(until);
        }
    }

    /// Whether the pause holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Now) -> bool {
        self.until.is_some_and(|until| now.instant < until.instant)
    }

    /// The Unix time of the pause's end, as foreseen when it began; `None` when it does not hold.
    #[must_use]
    pub fn ends_at(&self, now: Now) -> Option<Duration> {
        self.until.filter(|_| self.holds(now)).map(|until| until.unix)
    }
}
