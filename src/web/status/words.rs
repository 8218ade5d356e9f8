//! What the status page says in words: times, queues, states, how fresh data is.

use std::time::Duration;

use maud::{Markup, html};

use crate::clock::Now;
use crate::report::{FeedReport, FeedStatus, Health, Queue};

/// The waits from which the longest one is yellow, and red: those of the dashboards, which a test compares.
pub(super) const LATE: Duration = Duration::from_secs(120);
pub(super) const URGENT: Duration = Duration::from_secs(300);

/// A length of time, as precise as people need it: `42 s`, `3 min 5 s`, `42 min`, `2 h 5 min`, `3 d`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let both = |large: String, small: u64, unit: &str| match small {
        0 => large,
        _ => format!("{large} {small} {unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => both(format!("{minutes} min"), seconds % 60, "s"),
        600..3600 => format!("{minutes} min"),
        3600..172_800 => both(format!("{hours} h"), minutes % 60, "min"),
        _ => format!("{days} d"),
    }
}

/// How long the longest wait of a queue is.
pub(super) fn wait(queue: Queue, now: Now) -> Option<Duration> {
    queue.since.map(|since| now.instant.saturating_duration_since(since))
}

/// The class of the colour of a wait.
pub(super) fn colour(wait: Option<Duration>) -> Option<&'static str> {
    match wait? {
        wait if wait >= URGENT => Some("urgent"),
        wait if wait >= LATE => Some("late"),
        _ => None,
    }
}

/// A count as the dashboards write it: `1,500`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count, with a remark below it.
pub(super) fn number(name: &str, count: u64, remark: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (grouped(count)) @if !remark.is_empty() { small { (remark) } } }
        }
    }
}

/// A count in a table.
pub(super) fn cell(count: u64) -> Markup {
    html! { td class=[(count == 0).then_some("zero")] { (grouped(count)) } }
}

/// How many calls wait, and how long the oldest has, in its colour.
pub(super) fn queue(name: &str, queue: Queue, now: Now) -> Markup {
    let wait = wait(queue, now);
    html! {
        div class=[colour(wait)] {
            dt { (name) }
            dd { (grouped(queue.count)) @if let Some(wait) = wait { small { "oldest " (span(wait)) } } }
        }
    }
}

/// A state in a word or two, in its colour.
pub(super) fn state(health: Health) -> Markup {
    let (label, class) = match health {
        Health::Up => ("Up", "well"),
        Health::Failed => ("Failing", "trouble"),
        Health::Paused => ("Paused", "waiting"),
        Health::Unasked => ("Not asked lately", "waiting"),
        Health::New => ("Not asked yet", "waiting"),
    };
    html! { span.state.(class) { (label) } }
}

/// How fresh the data of a feed is, and what that depends on. `what` is `Calls` or `Units`.
pub(super) fn freshness<S, T>(what: &str, feed: &FeedReport<S, T>, now: Now) -> String {
    let age = feed.status.last_success.map(|at| span(now.unix.saturating_sub(at)));
    let age = match (age, &feed.snapshot) {
        (Some(age), Some(_)) => format!("{what} are {age} old."),
        (Some(age), None) => format!("{what} are {age} old, too old to be shown."),
        (None, _) => format!("{what} have not been read yet."),
    };
    match feed.status.health() {
        // The failure says when the API is asked again.
        Health::Up | Health::Failed => age,
        Health::Paused => format!("{age} {}", next_request(&feed.status, now)),
        Health::Unasked => format!("{age} The API is only asked when the metrics are read: does Prometheus run?"),
        Health::New => format!(
            "{age} The API is asked when Prometheus scrapes the metrics, or when you open them with the link below."
        ),
    }
}

/// When the API is asked again after trouble.
pub(super) fn next_request(feed: &FeedStatus, now: Now) -> String {
    let wait = feed.retry_at.map_or(Duration::ZERO, |at| at.saturating_sub(now.unix));
    match wait.as_secs() {
        0 => "The API is asked again at the next scrape.".to_owned(),
        _ => format!("The API is asked again in {}.", span(wait)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_time_is_as_precise_as_people_need_it() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (65, "1 min 5 s"),
            (599, "9 min 59 s"),
            (600, "10 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (172_799, "47 h 59 min"),
            (172_800, "2 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_large_count_is_grouped() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1500, "1,500"),
            (123_456, "123,456"),
            (9_999_999, "9,999,999"),
        ] {
            assert_eq!(grouped(count), text);
        }
    }

    /// The steps of the thresholds of all panels whose title begins so.
    fn steps(dashboard: &Value, title: &str) -> Vec<(String, Option<u64>)> {
        let panels = dashboard["panels"].as_array().unwrap().iter();
        let nested = panels.clone().filter_map(|panel| panel["panels"].as_array()).flatten();
        let panels = panels.chain(nested);
        let panels = panels.filter(|panel| panel["title"].as_str().is_some_and(|text| text.starts_with(title)));
        let steps = panels.flat_map(|panel| {
            let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
            steps.as_array().unwrap()
        });
        steps
            .map(|step| (step["color"].as_str().unwrap().to_owned(), step["value"].as_u64()))
            .collect()
    }

    #[test]
    fn the_limits_are_those_of_the_dashboard() {
        let dashboard = include_str!("../../../dashboards/community-activity.json");
        let dashboard = serde_json::from_str(dashboard).unwrap();
        for title in ["Oldest pending call", "Oldest emergency call"] {
            let steps = steps(&dashboard, title);
            for (colour, limit) in [("dark-yellow", LATE), ("red", URGENT)] {
                let expected = (colour.to_owned(), Some(limit.as_secs()));
                assert!(steps.contains(&expected), "{title}: {steps:?}");
            }
        }
    }

    #[test]
    fn a_long_wait_has_a_colour() {
        for (seconds, class) in [
            (119, None),
            (120, Some("late")),
            (299, Some("late")),
            (300, Some("urgent")),
        ] {
            assert_eq!(colour(Some(Duration::from_secs(seconds))), class, "{seconds}");
        }
        assert_eq!(colour(None), None);
    }
}
