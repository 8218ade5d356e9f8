//! What was asked and answered, and what a scrape may show because of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use sonorancad_exporter::clock::Now;

use super::SECOND;
use crate::support::cad::Request;

/// An endpoint of a server: the server's id, and whether it is that with units.
type Feed = (u32, bool);

/// How much time may pass between the start of a request and its arrival: on one clock, requests side by side take time from
/// each other, and one that waits for a slot takes up to 3 s.
const MAX_WAY: Duration = Duration::from_secs(5);

/// What is wrong with an answer, and for how long no request may be sent because of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    Plain,
    PauseFeed(Duration),
    PauseEndpoint(Duration),
    PauseAccount(Duration),
}

/// The truth beside the scrapes.
pub(super) struct Watch {
    /// The requests per minute that calls and units may have.
    budgets: [usize; 2],
    stale_bound: Duration,
    /// What is answered to requests for calls of a server, and for units (`None`).
    expected: BTreeMap<Option<u32>, (Fault, u32)>,
    /// The newest request of each feed.
    newest: BTreeMap<Feed, (Fault, Instant)>,
    /// The newest good answer of each feed: its number, and when it was asked for.
    newest_good: BTreeMap<Feed, (u32, Instant)>,
    /// When the newest requests came, for calls and units, as many as the budgets have slots.
    arrivals: [VecDeque<Instant>; 2],
    /// Until when no request may come, for a feed.
    paused_until: BTreeMap<Feed, Instant>,
    counters: BTreeMap<String, f64>,
    are_up: BTreeMap<Feed, bool>,
    pub(super) scrapes: u32,
    pub(super) good: u32,
    pub(super) bad: u32,
    /// How often a value was hidden because it was too old.
    pub(super) stale: u32,
    pub(super) restarts: u32,
}

impl Watch {
    pub(super) fn new(budgets: [usize; 2], stale_bound: Duration) -> Self {
        Self {
            budgets,
            stale_bound,
            expected: BTreeMap::new(),
            newest: BTreeMap::new(),
            newest_good: BTreeMap::new(),
            arrivals: Default::default(),
            paused_until: BTreeMap::new(),
            counters: BTreeMap::new(),
            are_up: BTreeMap::new(),
            scrapes: 0,
            good: 0,
            bad: 0,
            stale: 0,
            restarts: 0,
        }
    }

    /// From now on, requests for calls of this server, or for units, are answered so.
    pub(super) fn expect(&mut self, server: Option<u32>, fault: Fault, serial: u32) {
        self.expected.insert(server, (fault, serial));
    }

    /// A new process knows nothing of before.
    pub(super) fn restart(&mut self) {
        *self = Self {
            expected: std::mem::take(&mut self.expected),
            scrapes: self.scrapes,
            good: self.good,
            bad: self.bad,
            stale: self.stale,
            restarts: self.restarts + 1,
            ..Self::new(self.budgets, self.stale_bound)
        };
    }

    /// Notes the requests of one scrape, and checks that they were allowed.
    pub(super) fn note_requests(&mut self, requests: Vec<Request>) {
        let mut pauses = Vec::new();
        for request in requests {
            let feed = (request.server_id().unwrap(), request.is_for_units());
            let (server, is_units) = feed;
            let at = request.at.unwrap().instant;
            if let Some(until) = self.paused_until.get(&feed) {
                assert!(
                    at >= *until,
                    "{feed:?} is asked {:?} before the end of a pause",
                    *until - at
                );
            }
            self.check_budget(is_units, at);
            let (fault, serial) = self.expected[&(!is_units).then_some(server)];
            self.newest.insert(feed, (fault, at));
            if fault == Fault::None {
                self.good += 1;
                self.newest_good.insert(feed, (serial, at));
            } else {
                self.bad += 1;
            }
            pauses.push((feed, fault, at));
        }
        // Those of one scrape are sent side by side.
        for (feed, fault, at) in pauses {
            self.pause(feed, fault, at);
        }
    }

    fn check_budget(&mut self, is_units: bool, at: Instant) {
        let arrivals = &mut self.arrivals[usize::from(is_units)];
        let budget = self.budgets[usize::from(is_units)];
        if arrivals.len() == budget
            && let Some(earliest) = arrivals.pop_front()
        {
            let apart = at - earliest;
            assert!(
                apart >= 60 * SECOND,
                "{} requests in {apart:?}, units: {is_units}",
                budget + 1
            );
        }
        arrivals.push_back(at);
    }

    fn pause(&mut self, (server, is_units): Feed, fault: Fault, at: Instant) {
        let duration = match fault {
            Fault::None | Fault::Plain => return,
            Fault::PauseFeed(duration) | Fault::PauseEndpoint(duration) | Fault::PauseAccount(duration) => duration,
        };
        for feed in super::SERVERS
            .iter()
            .flat_map(|server| [(*server, false), (*server, true)])
        {
            let is_meant = match fault {
                Fault::PauseFeed(_) => feed == (server, is_units),
                Fault::PauseEndpoint(_) => feed.1 == is_units,
                _ => true,
            };
            if is_meant {
                let until = self.paused_until.entry(feed).or_insert(at);
                *until = (*until).max(at + duration);
            }
        }
    }

    /// Checks a scrape that was made at `now`.
    pub(super) fn check(&mut self, text: &str, now: Now) {
        self.scrapes += 1;
        let samples = text.lines().filter(|line| line.starts_with("sonorancad_"));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
        let samples: BTreeMap<&str, f64> = samples.map(|(name, value)| (name, value.parse().unwrap())).collect();
        self.check_counters(&samples);
        for (feed, (fault, asked_at)) in self.newest.clone() {
            let (server, is_units) = feed;
            let context = format!("server {server}, units: {is_units}\n{text}");
            let (up, shown) = if is_units {
                ("units_up", "dispatchers")
            } else {
                ("up", "closed_calls_stored")
            };
            let is_up = samples[&*format!("sonorancad_{up}{{server_id=\"{server}\"}}")] == 1.0;
            let age = now.instant - asked_at;
            assert!(!is_up || fault == Fault::None, "up after {fault:?}: {context}");
            assert!(
                !is_up || age <= self.stale_bound,
                "up with data from {age:?} ago: {context}"
            );
            self.are_up.insert(feed, is_up);
            let shown = samples.get(&*format!("sonorancad_{shown}{{server_id=\"{server}\"}}"));
            self.check_age(feed, shown.copied(), now, &context);
            self.check_time(feed, &samples, now, &context);
        }
    }

    fn check_counters(&mut self, samples: &BTreeMap<&str, f64>) {
        let is_counter = |series: &str| {
            let name = series.split('{').next().unwrap();
            ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for (series, before) in &self.counters {
            let now = samples.get(&**series).unwrap_or_else(|| panic!("{series} is gone"));
            assert!(now >= before, "{series} fell from {before} to {now}");
        }
        let counters = samples.iter().filter(|(series, _)| is_counter(series));
        self.counters = counters.map(|(series, value)| ((*series).to_owned(), *value)).collect();
    }

    /// What is shown is the newest good answer, as long as that is within the stale bound.
    fn check_age(&mut self, feed: Feed, shown: Option<f64>, now: Now, context: &str) {
        let Some((serial, asked_at)) = self.newest_good.get(&feed) else {
            assert_eq!(shown, None, "never: {context}");
            return;
        };
        let age = now.instant - *asked_at;
        let number = if feed.1 { serial % 50 } else { *serial };
        if age + MAX_WAY <= self.stale_bound {
            assert_eq!(shown, Some(f64::from(number)), "{age:?} old: {context}");
        } else if age > self.stale_bound + SECOND {
            assert_eq!(shown, None, "{age:?} old: {context}");
            self.stale += 1;
        }
    }

    /// The time of the newest good answer is right by the wall clock of now.
    fn check_time(&self, feed: Feed, samples: &BTreeMap<&str, f64>, now: Now, context: &str) {
        let (server, is_units) = feed;
        let endpoint = if is_units { "units" } else { "calls" };
        let series =
            format!("sonorancad_last_success_timestamp_seconds{{server_id=\"{server}\",api_endpoint=\"{endpoint}\"}}");
        let expected = match self.newest_good.get(&feed) {
            Some((_, asked_at)) => now.unix_at(*asked_at).as_secs_f64(),
            None => 0.0,
        };
        let early = Duration::try_from_secs_f64((expected - samples[&*series]).max(0.0)).unwrap();
        assert!(
            samples[&*series] <= expected + 1.0 && early <= MAX_WAY,
            "{expected}: {context}"
        );
    }

    /// Whether every feed was up in the newest scrape.
    pub(super) fn are_all_up(&self) -> bool {
        self.are_up.len() == self.newest.len() && self.are_up.values().all(|is_up| *is_up)
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} scrapes, {} good and {} bad answers, {} values hidden because of their age, {} restarts",
            self.scrapes, self.good, self.bad, self.stale, self.restarts
        )
    }
}
