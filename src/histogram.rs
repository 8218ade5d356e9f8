//! A histogram with fixed buckets, as plain numbers.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts of observed durations by bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The buckets' upper bounds in seconds, ascending, without the infinite last one.
    bounds: Cow<'static, [f64]>,
    /// One count per bound, not cumulative, and one for values above all bounds.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    /// An empty histogram; `bounds` are inclusive upper bounds in seconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds: Cow::Borrowed(bounds),
            counts: vec![0; bounds.len() + 1],
            sum: Duration::ZERO,
        }
    }

    /// Adds one duration.
    pub fn observe(&mut self, duration: Duration) {
        self.observe_estimated(duration, duration);
    }

    /// Adds one duration that is not known exactly: `estimate` decides on the bucket, `observed` is added to the sum.
    pub fn observe_estimated(&mut self, estimate: Duration, observed: Duration) {
        let seconds = estimate.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        // Only a sum that was read from elsewhere is that large.
        self.sum = self.sum.saturating_add(observed);
    }

    /// Adds the durations that another histogram with the same buckets has observed.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Whether both have the same buckets, so that they can be added.
    #[must_use]
    pub fn has_buckets_of(&self, other: &Self) -> bool {
        self.bounds == other.bounds && self.counts.len() == other.counts.len()
    }

    /// Each bucket's upper bound in seconds and its own count, the infinite one last.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }

    /// How many durations were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All observed durations together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for millis in [0, 1000, 1001, 2000, 2001, 90_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(1.0, 2), (2.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum(), Duration::from_millis(96_002));
    }

    #[test]
    fn a_sum_that_was_read_from_elsewhere_never_overflows() {
        let mut histogram = Histogram::new(&[1.0]);
        histogram.sum = Duration::MAX;
        histogram.observe(Duration::from_secs(2));
        histogram.add(&histogram.clone());
        assert_eq!((histogram.count(), histogram.sum()), (2, Duration::MAX));
    }
}
