//! The exporter's counts beside the truth: an hour in the life of a simulated community.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Duration;

use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad, MIN_CALL, Statistics};

use crate::support::exporter::{NOON, Running, value};
use crate::support::simulated;

const HOUR: u32 = 3600;

/// A simulated CAD, and the exporter that asks it.
struct Community {
    cad: Cad,
    exporter: Running,
    clock: ManualClock,
}

/// The values of a scrape beside the true ones.
struct Scrape {
    text: String,
    /// The truth at the first scrape, from which on the exporter counts.
    first: Statistics,
    /// The truth at the scrape before.
    earlier: Statistics,
    /// The truth now.
    now: Statistics,
}

impl Community {
    async fn start(seed: u64, calls_per_hour: u32, variables: &[(&str, &str)]) -> Self {
        let clock = ManualClock::new(NOON);
        let (cad, url) = simulated::start(seed, calls_per_hour, 1, &Clock::Manual(clock.clone())).await;
        let mut all = vec![
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
        ];
        all.extend(variables);
        let exporter = Running::start_with(&url, &all, &Clock::Manual(clock.clone()));
        Self { cad, exporter, clock }
    }

    fn truth(&self) -> Statistics {
        self.cad.statistics(1).unwrap()
    }

    /// Scrapes at this interval for `seconds`, calls `look` with every scrape, and returns the last.
    async fn scrape_for(&self, seconds: u32, interval: u32, look: impl Fn(&Scrape)) -> Scrape {
        let text = self.exporter.scrape().await;
        let [first, earlier, now] = [self.truth(), self.truth(), self.truth()];
        let mut scrape = Scrape {
            text,
            first,
            earlier,
            now,
        };
        for _ in 0..seconds / interval {
            self.clock.advance(Duration::from_secs(interval.into()));
            scrape.text = self.exporter.scrape().await;
            scrape.earlier = std::mem::replace(&mut scrape.now, self.truth());
            look(&scrape);
        }
        scrape
    }
}

impl Scrape {
    /// The true numbers of calls that opened and closed.
    fn truth(&self) -> (u64, u64) {
        (
            self.now.opened() - self.first.opened(),
            self.now.closed() - self.first.closed(),
        )
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

fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Every counter beside the truth; of what closed, the priority may have changed before the first look.
#[track_caller]
fn assert_true(scrape: &Scrape) {
    let Scrape {
        text,
        first,
        earlier,
        now,
    } = scrape;
    for (index, origin) in ["caller", "radio_dispatch", "observed", "walk_up"].iter().enumerate() {
        let mut closed = 0.0;
        for priority in 0..3 {
            let labels = format!("{{server_id=\"1\",priority=\"{}\",origin=\"{origin}\"}}", priority + 1);
            let opened = value(text, &format!("sonorancad_calls_opened_total{labels}"));
            let truth = now.opened[priority][index] - first.opened[priority][index];
            assert_eq!(opened, to_f64(truth), "opened {labels}");
            closed += value(text, &format!("sonorancad_calls_closed_total{labels}"));
        }
        let of_origin = |statistics: &Statistics| statistics.closed.iter().map(|of| of[index]).sum::<u64>();
        assert_eq!(closed, to_f64(of_origin(now) - of_origin(first)), "closed {origin}");
    }
    for (index, kind) in ["emergency", "civil"].iter().enumerate() {
        let labels = format!("{{server_id=\"1\",kind=\"{kind}\"}}");
        let opened = value(text, &format!("sonorancad_emergency_calls_opened_total{labels}"));
        let truth = now.emergency_opened[index] - first.emergency_opened[index];
        assert_eq!(opened, to_f64(truth), "opened {labels}");
        // That a call is gone shows in the second answer without it.
        let cleared = value(text, &format!("sonorancad_emergency_calls_cleared_total{labels}"));
        let truth = |until: &Statistics| to_f64(until.emergency_cleared[index] - first.emergency_cleared[index]);
        assert!((truth(earlier)..=truth(now)).contains(&cleared), "cleared {labels}");
    }
}

#[tokio::test]
async fn every_call_of_a_busy_hour_is_counted_when_no_call_is_shorter_than_the_interval() {
    let interval = 5;
    assert!(Duration::from_secs(interval.into()) < MIN_CALL);
    let variables = [("SONORANCAD_CACHE_TTL", "5s"), ("SONORANCAD_REQUESTS_PER_MINUTE", "60")];
    let community = Community::start(7, 800, &variables).await;
    let last = community.scrape_for(HOUR, interval, assert_true).await;
    let (opened, closed) = last.truth();
    eprintln!(
        "{opened} calls opened and {closed} closed: all of them counted, by priority and origin, at each of 720 scrapes"
    );
    assert!(opened > 400 && closed > 400);
}

/// Calls that did not fit into a list of closed ones are in the next answer. A count is then at least that of the
/// scrape before.
#[tokio::test]
async fn calls_that_were_never_seen_open_are_counted_too() {
    let mut table =
        String::from("\nversion  per hour  opened  counted  closed  counted  never timed  scrapes  both exact\n");
    for (version, calls_per_hour) in [("v1", 800), ("v2", 800), ("v1", 3000)] {
        let variables = [("SONORANCAD_API_VERSION", version)];
        let community = Community::start(11, calls_per_hour, &variables).await;
        let exact = Cell::new(0);
        let last = community
            .scrape_for(HOUR, 60, |scrape| {
                let mut is_exact = true;
                for (name, of) in [
                    ("opened", Statistics::opened as fn(&Statistics) -> u64),
                    ("closed", Statistics::closed),
                ] {
                    let counted = sum(&scrape.text, &format!("sonorancad_calls_{name}_total"));
                    let truth = |until| to_f64(of(until) - of(&scrape.first));
                    let range = truth(&scrape.earlier)..=truth(&scrape.now);
                    assert!(range.contains(&counted), "{name} {counted} {range:?}");
                    is_exact &= counted == *range.end();
                }
                exact.set(exact.get() + u32::from(is_exact));
            })
            .await;
        let counted = |name| sum(&last.text, &format!("sonorancad_{name}"));
        let (opened, closed) = (counted("calls_opened_total"), counted("calls_closed_total"));
        let truth = last.truth();
        writeln!(
            table,
            "{version:7}  {calls_per_hour:8}  {:6}  {opened:7}  {:6}  {closed:7}  {:11}  {:7}  {:10}",
            truth.0,
            truth.1,
            closed - counted("call_duration_seconds_count"),
            HOUR / 60,
            exact.get(),
        )
        .unwrap();
        assert!(exact.get() * 2 >= HOUR / 60, "{table}");
    }
    eprintln!("{table}");
}
