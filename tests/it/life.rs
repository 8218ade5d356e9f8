//! The exporter's counts beside the truth: an hour in the life of a simulated community.

use std::fmt::Write as _;
use std::time::Duration;

use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad, SHORTEST_CALL, Settings, Statistics};
use tokio::net::TcpListener;

use crate::exporter::{NOON, Running, value};

const HOUR: u32 = 3600;

/// A simulated CAD, and the exporter that asks it.
struct Community {
    cad: Cad,
    exporter: Running,
    clock: ManualClock,
}

/// What the exporter counted and what is true, from the first scrape to the last.
struct Outcome {
    text: String,
    before: Statistics,
    after: Statistics,
}

impl Community {
    async fn start(seed: u64, calls_per_hour: u32, variables: &[(&str, &str)]) -> Self {
        let clock = ManualClock::new(NOON);
        let settings = Settings {
            seed,
            calls_per_hour,
            servers: 1,
            utc_offset: 0,
            has_trouble: false,
        };
        let cad = Cad::new(&settings, &Clock::Manual(clock.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(cad.clone().serve(listener));
        let mut all = vec![
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
        ];
        all.extend(variables);
        let exporter = Running::start_with(&url, &all, &Clock::Manual(clock.clone())).await;
        Self { cad, exporter, clock }
    }

    fn truth(&self) -> Statistics {
        self.cad.statistics(1).unwrap()
    }

    /// Scrapes at this interval, for so many seconds; `each` sees every scrape and the truth then.
    async fn scrape_for(
        &self,
        seconds: u32,
        interval: u32,
        mut each: impl FnMut(&str, &Statistics, &Statistics),
    ) -> Outcome {
        self.exporter.scrape().await;
        let before = self.truth();
        let mut text = String::new();
        for _ in 0..seconds / interval {
            self.clock.advance(Duration::from_secs(interval.into()));
            text = self.exporter.scrape().await;
            each(&text, &before, &self.truth());
        }
        let after = self.truth();
        Outcome { text, before, after }
    }
}

impl Outcome {
    /// How many calls opened and closed in truth.
    fn truth(&self) -> (u64, u64) {
        (
            total(&self.after.opened) - total(&self.before.opened),
            total(&self.after.closed) - total(&self.before.closed),
        )
    }

    /// How long the calls truly waited, in seconds, that were taken in this time.
    fn waits(&self) -> Vec<f64> {
        self.after.waits.iter().skip(self.before.waits.len()).copied().collect()
    }

    /// How long the calls truly lasted, in seconds, that closed in this time.
    fn durations(&self) -> Vec<f64> {
        self.after
            .durations
            .iter()
            .skip(self.before.durations.len())
            .copied()
            .collect()
    }
}

/// The sum of all series of a family.
fn sum(text: &str, family: &str) -> f64 {
    let prefix = format!("{family}{{");
    text.lines()
        .filter(|line| line.starts_with(&prefix))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

fn total(counts: &[[u64; 4]; 3]) -> u64 {
    counts.iter().flatten().sum()
}

fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Every counter beside the truth; of what closed, the priority may have changed before the first look.
#[track_caller]
fn assert_true(text: &str, before: &Statistics, after: &Statistics) {
    for (place, origin) in ["caller", "radio_dispatch", "observed", "walk_up"].iter().enumerate() {
        let mut closed = 0.0;
        for priority in 0..3 {
            let labels = format!("{{server_id=\"1\",priority=\"{}\",origin=\"{origin}\"}}", priority + 1);
            let opened = value(text, &format!("sonorancad_calls_opened_total{labels}"));
            let truth = after.opened[priority][place] - before.opened[priority][place];
            assert_eq!(opened, to_f64(truth), "opened {labels}");
            closed += value(text, &format!("sonorancad_calls_closed_total{labels}"));
        }
        let closed_until =
            |statistics: &Statistics| statistics.closed.iter().map(|by_origin| by_origin[place]).sum::<u64>();
        assert_eq!(
            closed,
            to_f64(closed_until(after) - closed_until(before)),
            "closed {origin}"
        );
    }
    for (place, kind) in ["emergency", "civil"].iter().enumerate() {
        let opened = value(
            text,
            &format!("sonorancad_emergency_calls_opened_total{{server_id=\"1\",kind=\"{kind}\"}}"),
        );
        let truth = after.emergency_opened[place] - before.emergency_opened[place];
        assert_eq!(opened, to_f64(truth), "{kind}");
    }
}

#[tokio::test]
async fn every_call_of_a_busy_hour_is_counted_when_no_call_is_shorter_than_the_interval() {
    let interval = 5;
    assert!(Duration::from_secs(interval.into()) < SHORTEST_CALL);
    let variables = [("SONORANCAD_CACHE_TTL", "5s"), ("SONORANCAD_REQUESTS_PER_MINUTE", "60")];
    let community = Community::start(7, 800, &variables).await;
    let outcome = community.scrape_for(HOUR, interval, assert_true).await;
    let (opened, closed) = outcome.truth();
    eprintln!(
        "{opened} calls opened and {closed} closed: all of them counted, by priority and origin, at each of 720 scrapes"
    );
    assert!(opened > 400 && closed > 400);
}

/// Of a call that leaves a list which is cut off, the next answer tells.
#[tokio::test]
async fn calls_that_were_never_seen_open_are_counted_too() {
    let mut table = String::from("\nversion  per hour  opened  counted  closed  counted  never timed\n");
    for (version, calls_per_hour) in [("v1", 800), ("v2", 800), ("v1", 3000)] {
        let variables = [("SONORANCAD_API_VERSION", version)];
        let community = Community::start(11, calls_per_hour, &variables).await;
        let mut earlier = (0.0, 0.0);
        let outcome = community
            .scrape_for(HOUR, 60, |text, before, after| {
                let opened = to_f64(total(&after.opened) - total(&before.opened));
                let closed = to_f64(total(&after.closed) - total(&before.closed));
                let counted = sum(text, "sonorancad_calls_opened_total");
                assert!(
                    earlier.0 <= counted && counted <= opened,
                    "{earlier:?} {counted} {opened}"
                );
                let counted = sum(text, "sonorancad_calls_closed_total");
                assert!(
                    earlier.1 <= counted && counted <= closed,
                    "{earlier:?} {counted} {closed}"
                );
                earlier = (opened, closed);
            })
            .await;
        let counted = |name| sum(&outcome.text, &format!("sonorancad_{name}"));
        let (opened, closed) = (counted("calls_opened_total"), counted("calls_closed_total"));
        writeln!(
            table,
            "{version:7}  {calls_per_hour:8}  {:6}  {opened:7}  {:6}  {closed:7}  {:11}",
            earlier.0,
            earlier.1,
            closed - counted("call_duration_seconds_count"),
        )
        .unwrap();
        assert_eq!(opened, earlier.0, "{table}");
        assert!(closed >= earlier.1 - 10.0, "{table}");
    }
    eprintln!("{table}");
}

/// What a histogram says beside what is true, and what the interval between answers makes of it.
///
/// A call that begins at random within the interval *t* is seen with the probability min(1, *w* / *t*) if
/// it waits for *w*; what is then observed is a multiple of *t*, and on average over all calls, those
/// that are not seen included, just *w*. So the sum is right, and the count is too low by the calls that
/// were too short to be seen.
#[tokio::test]
async fn waits_and_durations_are_true_but_for_what_the_interval_hides() {
    let interval = 30.0;
    let community = Community::start(3, 400, &[]).await;
    let outcome = community.scrape_for(24 * HOUR, 30, |_, _, _| {}).await;
    let mut table = String::from("\n                    truth  expected  exporter\n");
    for (name, times) in [("wait", outcome.waits()), ("duration", outcome.durations())] {
        let count = sum(&outcome.text, &format!("sonorancad_call_{name}_seconds_count"));
        let exporter = sum(&outcome.text, &format!("sonorancad_call_{name}_seconds_sum")) / count;
        let all: f64 = times.iter().sum();
        let seen: f64 = times.iter().map(|time| (time / interval).min(1.0)).sum();
        let truth = all / to_f64(times.len() as u64);
        writeln!(
            table,
            "mean {name:8} (s)  {truth:7.1}  {:8.1}  {exporter:8.1}",
            all / seen
        )
        .unwrap();
        assert!((exporter / (all / seen) - 1.0).abs() < 0.03, "{table}");
    }
    let waits = outcome.waits();
    let within = |wait: &&f64| **wait <= 120.0;
    let truth = to_f64(waits.iter().filter(within).count() as u64) / to_f64(waits.len() as u64);
    // Begun at u within the interval, it is seen pending if it waits for more than u, and its observed
    // wait is within 120 s if it waits for no more than 120 s + u.
    let seen: f64 = waits.iter().map(|wait| (wait / interval).min(1.0)).sum();
    let long: f64 = waits
        .iter()
        .map(|wait| ((wait - 120.0) / interval).clamp(0.0, 1.0))
        .sum();
    let count = sum(&outcome.text, "sonorancad_call_wait_seconds_count");
    let fast: f64 = outcome
        .text
        .lines()
        .filter(|line| line.starts_with("sonorancad_call_wait_seconds_bucket{le=\"120.0\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    writeln!(
        table,
        "taken in 2 min      {truth:7.3}  {:8.3}  {:8.3}",
        1.0 - long / seen,
        fast / count
    )
    .unwrap();
    assert!((fast / count - (1.0 - long / seen)).abs() < 0.01, "{table}");
    eprintln!("{table}");
}
