//! How busy a community is by the time of day and week.

use std::time::Duration;

/// How busy each hour of the day is, from midnight on, relative to an average hour of the week. Nights are not quiet:
/// people try a demo at any hour.
const DAY: [f64; 24] = [
    1.1, 0.95, 0.8, 0.75, 0.7, 0.7, 0.7, 0.75, 0.8, 0.8, 0.85, 0.9, 0.9, 0.95, 0.95, 1.0, 1.15, 1.2, 1.3, 1.35, 1.4,
    1.4, 1.35, 1.25,
];

/// The same for the days of the week, from Monday on.
const WEEK: [f64; 7] = [0.85, 0.85, 0.9, 0.95, 1.15, 1.25, 1.05];

/// Above every product of the two factors.
pub(super) const PEAK: f64 = 1.8;

/// How busy it is at this time of day and week, beside an average hour.
pub(super) fn rhythm(unix: Duration, utc_offset: i32) -> f64 {
    let local = unix.as_secs().saturating_add_signed(i64::from(utc_offset));
    let hour = local / 3600 % 24;
    // 1970 began on a Thursday.
    let day = (local / 86_400 + 3) % 7;
    DAY[usize::try_from(hour).unwrap_or_default()] * WEEK[usize::try_from(day).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_hour_of_the_week_is_average() {
        let mean = |table: &[f64]| table.iter().sum::<f64>() / f64::from(u32::try_from(table.len()).unwrap());
        assert!((mean(&DAY) - 1.0).abs() < 1e-9, "{}", mean(&DAY));
        assert!((mean(&WEEK) - 1.0).abs() < 1e-9, "{}", mean(&WEEK));
        let busiest = |table: &[f64]| table.iter().copied().fold(0.0, f64::max);
        assert!(busiest(&DAY) * busiest(&WEEK) < PEAK);
    }
}
