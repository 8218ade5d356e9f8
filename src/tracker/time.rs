//! Times that are known only as well as the answers show them.
//!
//! A call comes, is taken and closes between two answers. So a time has bounds, and only in sum is it true: measured from
//! the first answer that shows the beginning to the first that shows the end, it is as often too long as too short. That
//! makes [`Time::observed`], of which the sum and the mean are right at any interval.
//!
//! It would not be right to count a time in the bucket of its observed value. With an answer every 60 s, all observed
//! times are multiples of 60 s, on the edges of the buckets: of two minutes, "within two minutes" would count those of
//! three minutes as well, and with an answer every 63 s those of one minute only. Therefore a time counts in the bucket
//! where it probably lies: the moments of beginning and end are spread over their intervals, as they are if waits of the
//! observed mean end at random. What lies within one bucket for certain counts there.

use std::time::Duration;

use crate::histogram::Histogram;

/// The mean that is assumed of a first time, and counts as one more time afterwards.
const ASSUMED_MEAN: f64 = 60.0;

/// How long something took, as far as the answers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// From the first answer that shows the beginning to the first that shows the end; 0 if it is the same one.
    pub(super) observed: Duration,
    /// How long before the former the answer was that does not show the beginning.
    pub(super) begin_within: Duration,
    /// How long before the latter the answer was that does not show the end.
    pub(super) end_within: Duration,
}

/// Counts a time.
pub(super) fn observe(histogram: &mut Histogram, time: Time) {
    // Without fractions, which only tell how punctual the scrapes are.
    let observed = Duration::from_secs((time.observed + Duration::from_millis(500)).as_secs());
    let number = f64::from(u32::try_from(histogram.count()).unwrap_or(u32::MAX));
    let mean = (histogram.sum().as_secs_f64() + ASSUMED_MEAN) / (number + 1.0);
    histogram.observe_estimated(time.estimate(mean, spread(number)), observed);
}

/// Two numbers from 0 to 1 that fill the square evenly as `number` rises: the additive recurrence with the
/// [plastic constant](https://en.wikipedia.org/wiki/Low-discrepancy_sequence#Additive_recurrence), so that the same
/// answers always give the same counts.
fn spread(number: f64) -> [f64; 2] {
    [0.754_877_666_246_692_7, 0.569_840_290_998_053_3].map(|step| (number * step).fract())
}

impl Time {
    /// Where the time lies if times have this mean in seconds, and its beginning and end are at these parts of what they
    /// can be.
    fn estimate(&self, mean: f64, [begin, end]: [f64; 2]) -> Duration {
        let seconds = if self.observed.is_zero() {
            // The beginning can be anywhere in the interval, and the end only after it.
            let rest = self.end_within.as_secs_f64() * begin;
            part_of_exponential(rest, mean, end)
        } else {
            // Ended as soon as it could, and begun as late as it could; and what the time is longer than that.
            self.observed.saturating_sub(self.end_within).as_secs_f64()
                + part_of_exponential(self.begin_within.as_secs_f64(), mean, begin)
                + part_of_exponential(self.end_within.as_secs_f64(), mean, end)
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(self.observed)
    }
}

/// The quantile `part` of an exponential distribution of this mean, cut off at `length`.
fn part_of_exponential(length: f64, mean: f64, part: f64) -> f64 {
    let within_length = -(-length / mean).exp_m1();
    -mean * (-part * within_length).ln_1p()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quantile_is_within_the_length() {
        for (length, mean) in [(60.0, 60.0), (60.0, 0.001), (60.0, 1e9), (0.0, 60.0), (1e9, 60.0)] {
            let at = |part| part_of_exponential(length, mean, part);
            assert!(at(0.0).abs() < 1e-9, "{length} {mean}");
            assert!(at(0.5) <= at(0.999), "{length} {mean}");
            assert!((0.0..=length).contains(&at(0.999)), "{length} {mean}: {}", at(0.999));
        }
        assert!((part_of_exponential(60.0, 1e9, 0.5) - 30.0).abs() < 0.01, "nearly even");
        assert!(
            part_of_exponential(60.0, 30.0, 0.5) < 30.0,
            "shorter times are likelier"
        );
    }

    #[test]
    fn the_sum_is_what_was_observed_in_whole_seconds() {
        let mut histogram = Histogram::new(&[60.0, 120.0]);
        for millis in [29_996, 30_004, 90_499] {
            let within = Duration::from_secs(30);
            observe(
                &mut histogram,
                Time {
                    observed: Duration::from_millis(millis),
                    begin_within: within,
                    end_within: within,
                },
            );
        }
        assert_eq!((histogram.count(), histogram.sum()), (3, 150 * SECOND));
    }

    proptest! {
        #[test]
        fn a_time_lies_within_its_bounds(
            seconds in 0_u32..100_000,
            begin in 1_u32..1000,
            end in 1_u32..1000,
            mean in 0.1..100_000.0_f64,
            number in 0_u32..,
        ) {
            let (begin_within, end_within) = (SECOND * begin, SECOND * end);
            // Between the answers that show beginning and end, there is at least the last interval.
            let observed = SECOND * seconds + end_within;
            let estimate = |observed| {
                let time = Time { observed, begin_within, end_within };
                time.estimate(mean, spread(number.into())).as_secs_f64()
            };
            let upper = (observed + begin_within).as_secs_f64();
            prop_assert!(estimate(observed) >= f64::from(seconds) - 1e-6 && estimate(observed) <= upper + 1e-6);
            prop_assert!(estimate(Duration::ZERO) <= end_within.as_secs_f64() + 1e-6);
        }
    }
}
