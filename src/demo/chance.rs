//! Random numbers, in the forms that a simulation needs.

use std::ops::Range;
use std::time::Duration;

/// A source of random numbers, which follow from its seed.
#[derive(Debug)]
pub(super) struct Chance(fastrand::Rng);

impl Chance {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self(random)
    }

    /// Another source. How often it is used does not change the numbers of this one.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    pub(super) fn is_likely(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }

    pub(super) fn number(&mut self, range: Range<u64>) -> u64 {
        self.0.u64(range)
    }

    /// Any number of whole milliseconds in this range of seconds.
    pub(super) fn seconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range.start * 1000..range.end * 1000))
    }

    /// A random, exponentially distributed time with this mean in seconds.
    pub(super) fn exponential(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.0.f64()).ln() * mean)
    }

    /// One of the values, by their weights.
    pub(super) fn choose(&mut self, weights: &[(usize, u32)]) -> usize {
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut place = self.0.u32(..sum);
        for (value, weight) in weights {
            match place.checked_sub(*weight) {
                Some(rest) => place = rest,
                None => return *value,
            }
        }
        unreachable!("the place is below the sum of the weights")
    }

    /// Removes any one of the values.
    pub(super) fn take<T>(&mut self, values: &mut Vec<T>) -> Option<T> {
        (!values.is_empty()).then(|| values.swap_remove(self.0.usize(..values.len())))
    }
}
