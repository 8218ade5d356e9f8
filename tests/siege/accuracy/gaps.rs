//! What comes and goes while nobody scrapes, or no replica runs.

use std::time::Duration;

use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad};

use crate::support::exporter::{NOON, Running, failures};
use crate::support::simulated;

/// A community that is scraped every 15 s, except in a gap.
struct Community {
    clock: ManualClock,
    cad: Cad,
    exporter: Running,
}

impl Community {
    async fn start(version: &str, calls_per_hour: u32) -> Self {
        let clock = ManualClock::new(NOON);
        let (cad, url) = simulated::start(5, calls_per_hour, 1, &Clock::Manual(clock.clone())).await;
        let variables = [
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
            ("SONORANCAD_API_VERSION", version),
        ];
        let exporter = Running::start_with(&url, &variables, &Clock::Manual(clock.clone()));
        Self { clock, cad, exporter }
    }

    /// Lets minutes pass with a scrape every 15 s.
    async fn scrape_for(&self, minutes: u32) -> String {
        let mut text = String::new();
        for _ in 0..4 * minutes {
            self.clock.advance(Duration::from_secs(15));
            text = self.exporter.scrape().await;
        }
        text
    }

    fn truth(&self) -> [u64; 2] {
        let truth = self.cad.statistics(1).unwrap();
        [truth.opened(), truth.closed()]
    }
}

fn counted(text: &str) -> [u64; 2] {
    ["opened", "closed"].map(|kind| {
        let family = format!("sonorancad_calls_{kind}_total{{");
        let series = text.lines().filter(|line| line.starts_with(&family));
        series
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    })
}

/// Of the calls that opened and closed since the first answer, with a gap of so many minutes: how many are missing, and how many
/// closed in the gap.
async fn missing(version: &str, calls_per_hour: u32, gap: u32) -> ([u64; 2], u64) {
    let community = Community::start(version, calls_per_hour).await;
    community.exporter.scrape().await;
    let before = community.truth();
    community.scrape_for(5).await;
    let closed_before = community.truth()[1];
    community.clock.advance(Duration::from_secs(60) * gap);
    let closed_in_gap = community.truth()[1] - closed_before;
    community.scrape_for(5).await;
    // What the next scrape shows is not older than the truth.
    community.clock.advance(Duration::from_secs(45));
    let text = community.exporter.scrape().await;
    assert_eq!(failures(&text), []);
    let (after, counted) = (community.truth(), counted(&text));
    let missing = [0, 1].map(|kind| after[kind] - before[kind] - counted[kind]);
    eprintln!("{version}, {calls_per_hour} calls/h, {gap} min, {closed_in_gap} closed: {missing:?} missing");
    (missing, closed_in_gap)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_hundred_calls_that_closed_last_in_a_gap_are_counted() {
    let (missing, closed) = missing("v2", 450, 60).await;
    assert!((311..=400).contains(&closed), "{closed}");
    assert_eq!(missing, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_many_calls_of_a_gap_are_counted() {
    for version in ["v1", "v2"] {
        for calls_per_hour in [300, 3000] {
            for gap in [10, 60] {
                missing(version, calls_per_hour, gap).await;
            }
        }
    }
}
