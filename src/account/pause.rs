//! A time during which no request is sent.

use std::time::{Duration, Instant};

use crate::clock::Now;

/// When requests may be sent again. A pause only ever gets longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

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
