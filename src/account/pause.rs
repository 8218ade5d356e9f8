//! Times during which no request is sent.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::{Now, as_unix_option};

/// The shortest pause that the API can ask for.
pub const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that the API can ask for.
pub const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// A pause below this is short: the API may ask for it again and again.
pub(super) const SHORT: Duration = Duration::from_secs(5);

/// When requests may be sent again. A pause only ever gets longer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Pause {
    #[serde(with = "as_unix_option")]
    until: Option<Instant>,
}

impl Pause {
    /// Makes the pause last until `until`, if it would end earlier.
    pub fn extend(&mut self, until: Instant) {
        self.until = self.until.max(Some(until));
    }

    /// Makes the pause last as long as `other`, if it would end earlier.
    pub(super) fn extend_to(&mut self, other: Self) {
        self.until = self.until.max(other.until);
    }

    /// Whether the pause is in force at `now`.
    #[must_use]
    pub fn is_active(&self, now: Now) -> bool {
        Some(now.instant) < self.until
    }

    /// The Unix time of the pause's end; `None` if it is not in force.
    #[must_use]
    pub fn ends_at(&self, now: Now) -> Option<Duration> {
        self.until
            .filter(|_| self.is_active(now))
            .map(|until| now.unix_at(until))
    }
}

/// The short pauses that the API has asked for in a row.
///
/// An API that says "ask again at once" each time, or names a time in the past, would get requests as fast as the budget
/// allows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShortPauses {
    count: u32,
}

impl ShortPauses {
    /// The pause to make of the one that the API asks for: a short one is twice as long for each short one before it, up
    /// to [`MAX_PAUSE`].
    pub(super) fn lengthen(&mut self, asked: Duration) -> Duration {
        if asked >= SHORT {
            self.end();
            return asked;
        }
        let factor = 2_u32.saturating_pow(self.count);
        self.count = self.count.saturating_add(1);
        asked.saturating_mul(factor).min(MAX_PAUSE)
    }

    /// Starts anew.
    pub(super) fn end(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn short_pauses_in_a_row_double_up_to_an_hour() {
        let (mut pauses, second) = (ShortPauses::default(), Duration::from_secs(1));
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600] {
            assert_eq!(pauses.lengthen(second), second * expected);
        }
        for _ in 0..100 {
            assert_eq!(pauses.lengthen(second), MAX_PAUSE);
        }
        pauses.end();
        assert_eq!(pauses.lengthen(4 * second), 4 * second);
        assert_eq!(pauses.lengthen(second), 2 * second);
        assert_eq!(pauses.lengthen(5 * second), 5 * second, "not short");
        assert_eq!(pauses.lengthen(second), second, "the row has ended");
    }

    #[test]
    fn a_pause_only_gets_longer() {
        let (mut pause, start) = (Pause::default(), Clock::system().now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!pause.is_active(start));
        pause.extend(at(60).instant);
        pause.extend(at(10).instant);
        assert!(pause.is_active(at(59)));
        assert!(!pause.is_active(at(60)));
        assert_eq!(pause.ends_at(at(59)), Some(at(60).unix));
        assert_eq!(pause.ends_at(at(60)), None);
    }
}
