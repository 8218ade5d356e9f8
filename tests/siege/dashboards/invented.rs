//! Exporters that never ran: one with 29 days of calls and units, and one that has stopped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::values::{HOUR, MINUTE};

const DAY: f64 = 24.0 * HOUR;

/// The time between two samples.
const STEP: f64 = 300.0;

/// The instance with 29 days, in a community of its own.
pub(super) const INVENTED: &str = "invented:10911";

/// The instance that stopped, without a community, with the same server id as others have. It asked API v1.
pub(super) const GONE: &str = "gone:10911";

/// For how long it has been gone at the end of the script.
const GONE_FOR: f64 = 20.0 * MINUTE;

/// The panels with a value for each hour of the day or of the week.
pub(super) const OF_WEEKS: [&str; 3] = [
    "Typical open calls by hour",
    "Busy hours of the week",
    "Typical units on duty by hour",
];

/// New calls every five minutes in this hour of the week; Sunday is 0.
fn pace(day: f64, hour: f64) -> f64 {
    day * 24.0 + hour + 1.0
}

/// Day of the week and hour, of a Unix time.
fn day_and_hour(unix: f64) -> (f64, f64) {
    // 1970-01-01 was a Thursday.
    let day = ((unix / DAY).floor() + 4.0).rem_euclid(7.0);
    (day, (unix.rem_euclid(DAY) / HOUR).floor())
}

/// The hour of the day of a Unix time.
pub(super) fn hour(unix: f64) -> f64 {
    day_and_hour(unix).1
}

/// Open calls at a time: as many as the hour says, and one more for each week that has passed since, up to three.
fn open(time: f64, end: f64) -> f64 {
    hour(time) + ((end - time) / (7.0 * DAY)).floor().min(3.0)
}

/// The available units at a time; ten more do something else.
pub(super) fn available(time: f64) -> f64 {
    hour(time) + 1.0
}

/// The average of the values of the newest samples at the full minutes of the time before `end`.
pub(super) fn by_the_minute(end: f64, minutes: u32, value: impl Fn(f64) -> f64) -> f64 {
    let newest = (end / MINUTE).floor() * MINUTE;
    let at = |minute: u32| ((newest - f64::from(minute) * MINUTE) / STEP).floor() * STEP;
    (0..minutes).map(|minute| value(at(minute))).sum::<f64>() / f64::from(minutes)
}

/// The open calls of the week before, averaged over a quarter of an hour.
pub(super) fn open_a_week_before(end: f64) -> f64 {
    by_the_minute(end - 7.0 * DAY, 15, |time| open(time, end))
}

/// When the exporter that stopped was seen for the last time.
pub(super) fn last_of_gone(end: f64) -> f64 {
    ((end - GONE_FOR) / STEP).floor() * STEP
}

/// Adds both exporters' samples, up to the end.
pub(super) fn invent(history: &mut String, end: f64) {
    let target = format!("job=\"sonorancad\",instance=\"{INVENTED}\"");
    let server = format!("{target},community=\"beta\",server_id=\"1\"");
    let mut time = ((end - 29.0 * DAY) / STEP).floor() * STEP;
    let (mut opened, mut steps) = (0.0, 0.0);
    while time <= end {
        let (day, hour) = day_and_hour(time - 1.0);
        opened += pace(day, hour);
        steps += 1.0;
        for (family, labels, value) in calls(open(time, end), opened)
            .into_iter()
            .chain(units(available(time), steps))
        {
            writeln!(history, "sonorancad_{family}{{{server}{labels}}} {value} {time}").unwrap();
        }
        writeln!(history, "sonorancad_shared_state_up{{{target}}} 1 {time}").unwrap();
        if end - time < DAY {
            stop(history, time, end);
        }
        time += STEP;
    }
}

/// The families about calls: name, labels, value.
fn calls(open: f64, opened: f64) -> Vec<(&'static str, &'static str, f64)> {
    vec![
        ("up", "", 1.0),
        ("server_info", ",api_version=\"v2\"", 1.0),
        (
            "active_calls",
            ",priority=\"2\",origin=\"caller\",status=\"active\"",
            open,
        ),
        ("calls_opened_total", ",priority=\"2\",origin=\"caller\"", opened),
    ]
}

/// The families about units, and those with names of the configuration: name, labels, value.
fn units(available: f64, steps: f64) -> Vec<(&'static str, &'static str, f64)> {
    vec![
        ("units_up", "", 1.0),
        ("units", ",discipline=\"police\",status=\"available\"", available),
        ("units", ",discipline=\"police\",status=\"on_scene\"", 1.0),
        ("units", ",discipline=\"police\",status=\"unavailable\"", 4.0),
        ("units", ",discipline=\"fire\",status=\"busy\"", 2.0),
        ("units", ",discipline=\"ems\",status=\"enroute\"", 3.0),
        ("dispatchers", "", 2.0),
        ("units_in_panic", "", 1.0),
        ("units_truncated", "", 0.0),
        ("department_units", ",department=\"LSPD\"", 7.0),
        ("department_units", ",department=\"other\"", 0.0),
        ("units_signed_on_total", ",discipline=\"police\"", 2.0 * steps),
        ("units_signed_off_total", ",discipline=\"police\"", steps),
        ("calls_opened_by_code_total", ",code=\"10-50\"", 3.0 * steps),
        ("calls_opened_by_code_total", ",code=\"other\"", 0.0),
    ]
}

/// Adds a sample of the exporter that stops.
fn stop(history: &mut String, time: f64, end: f64) {
    let target = format!("job=\"sonorancad\",instance=\"{GONE}\"");
    let is_up = end - time >= GONE_FOR;
    writeln!(history, "up{{{target}}} {} {time}", u8::from(is_up)).unwrap();
    if !is_up {
        return;
    }
    for (family, labels, value) in [
        ("up", "", 1.0),
        ("server_info", ",api_version=\"v1\"", 1.0),
        ("last_success_timestamp_seconds", ",api_endpoint=\"calls\"", time),
    ] {
        let series = format!("sonorancad_{family}{{{target},server_id=\"1\"{labels}}}");
        writeln!(history, "{series} {value} {time}").unwrap();
    }
}

/// The values of a panel of [`OF_WEEKS`] by labels, for a clock that is some hours ahead of UTC.
pub(super) fn typical(title: &str, utc_offset: f64) -> BTreeMap<String, f64> {
    let mut implied = BTreeMap::new();
    for hour in 0..24_u8 {
        for day in 0..7_u8 {
            let local = f64::from(day) * 24.0 + f64::from(hour);
            let utc = (local - utc_offset).rem_euclid(168.0);
            let (utc_day, utc_hour) = ((utc / 24.0).floor(), utc.rem_euclid(24.0));
            let (labels, value) = match title {
                "Busy hours of the week" => (format!("day={day},hour={hour:02}"), 12.0 * pace(utc_day, utc_hour)),
                "Typical units on duty by hour" => (format!("hour={hour:02}"), available(utc_hour * HOUR) + 10.0),
                // Over four weeks: 0, 1, 2 and 3 more.
                _ => (format!("hour={hour:02}"), utc_hour + 1.5),
            };
            implied.insert(labels, value);
        }
    }
    implied
}
