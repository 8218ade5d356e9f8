//! Replicas that come and go in front of a simulated community: what is counted, beside the truth.

use std::collections::BTreeMap;
use std::process::Command;

use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad};

use super::pass;
use super::redis::Redis;
use crate::support::exporter::failures;
use crate::support::program::{BINARY, Program};
use crate::support::simulated;

/// Three replicas, and two Prometheus that ask them in turn.
pub(super) struct World {
    cad: Cad,
    url: String,
    pub(super) redis: Redis,
    pub(super) replicas: Vec<Program>,
    /// Those that the balancer leaves out.
    is_gone: Vec<bool>,
    /// Every counter as each Prometheus saw it last.
    seen: [BTreeMap<String, f64>; 2],
    pub(super) turn: usize,
    pub(super) falls: Vec<String>,
    /// Scrapes that showed no calls.
    pub(super) empty: usize,
    pub(super) text: String,
}

impl World {
    /// With answers every two seconds.
    pub(super) async fn start(redis: Redis, calls_per_hour: u32) -> Self {
        let (cad, url) = simulated::start(5, calls_per_hour, 1, &Clock::system()).await;
        let mut world = Self {
            cad,
            url,
            redis,
            replicas: Vec::new(),
            is_gone: vec![false; 3],
            seen: Default::default(),
            turn: 0,
            falls: Vec::new(),
            empty: 0,
            text: String::new(),
        };
        world.replicas = (0..3).map(|_| world.replica(BINARY)).collect();
        world
    }

    /// One more replica, of this build.
    pub(super) fn replica(&self, build: &str) -> Program {
        let mut command = Command::new(build);
        command.env_clear().envs([
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
            ("SONORANCAD_API_URL", &self.url),
            ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
            ("SONORANCAD_SHARED_STATE_URL", &self.redis.url),
            ("SONORANCAD_API_VERSION", "v1"),
            ("SONORANCAD_API_TIMEOUT", "1s"),
            ("SONORANCAD_CACHE_TTL", "2s"),
            ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ]);
        Program::start(command)
    }

    /// Ends a replica at once, and starts another one.
    fn replace(&mut self, index: usize) {
        self.replace_by(index, BINARY);
    }

    /// The same with another build of the exporter.
    pub(super) fn replace_by(&mut self, index: usize, build: &str) {
        Program::signal("KILL", self.replicas[index].child.id());
        self.replicas[index] = self.replica(build);
    }

    /// A scrape by each Prometheus, of another replica each time.
    pub(super) async fn scrape(&mut self) {
        for prometheus in 0..2 {
            self.turn += 1;
            while self.is_gone[self.turn % 3] {
                self.turn += 1;
            }
            self.text = self.replicas[self.turn % 3].scrape().await;
            self.empty += usize::from(!self.text.contains("\nsonorancad_active_calls{"));
            for line in self.text.lines().filter(|line| !line.starts_with(['#', 'p'])) {
                let (series, number) = line.rsplit_once(' ').unwrap();
                if !["_total", "_bucket", "_count", "_sum"]
                    .iter()
                    .any(|end| series.split('{').next().unwrap().ends_with(end))
                {
                    continue;
                }
                let number: f64 = number.parse().unwrap();
                let before = self.seen[prometheus]
                    .insert(series.to_owned(), number)
                    .unwrap_or_default();
                if number < before {
                    self.falls
                        .push(format!("scrape {}: {series} {before} {number}", self.turn));
                }
            }
        }
    }

    pub(super) fn sum(&self, family: &str) -> f64 {
        let of_family = |line: &&str| line.starts_with(&format!("{family}{{"));
        let numbers = self.text.lines().filter(of_family);
        numbers
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    /// The true numbers of calls that opened and closed.
    fn truth(&self) -> [u64; 2] {
        let truth = self.cad.statistics(1).unwrap();
        [truth.opened(), truth.closed()]
    }

    /// Lets every Prometheus scrape once a second, 40 times, and `disturb` before each of these rounds. At the end, no
    /// counter has fallen, and all calls are counted.
    async fn run(&mut self, disturb: impl FnMut(&mut Self, usize)) {
        self.run_for(40, 1.0, 2.5, disturb).await;
    }

    /// The same with so many rounds, this far apart, and this long before the last one.
    pub(super) async fn run_for(
        &mut self,
        rounds: usize,
        interval: f64,
        rest: f64,
        mut disturb: impl FnMut(&mut Self, usize),
    ) {
        // The first answer, from which on calls count, lies in between. So do the others from the truth around them.
        let earliest = self.truth();
        self.scrape().await;
        let latest = self.truth();
        for round in 0..rounds {
            disturb(self, round);
            pass(interval).await;
            self.scrape().await;
        }
        let before = self.truth();
        pass(rest).await;
        self.scrape().await;
        let after = self.truth();
        assert_eq!(self.falls, Vec::<String>::new());
        // A busy machine may need longer than the API's short time-out.
        let mut failures = failures(&self.text);
        failures.retain(|(error, _)| error != "TIMEOUT");
        assert_eq!(failures, []);
        for (index, kind) in ["opened", "closed"].into_iter().enumerate() {
            let least = before[index] - latest[index];
            let most = after[index] - earliest[index];
            let counted = self.sum(&format!("sonorancad_calls_{kind}_total"));
            eprintln!(
                "{kind}: between {least} and {most}, counted {counted}, by {} scrapes",
                self.turn
            );
            let counts = [least, most].map(|count| f64::from(u32::try_from(count).unwrap()));
            assert!((counts[0]..=counts[1]).contains(&counted));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_counter_falls_and_no_call_is_lost_while_replicas_are_killed_stopped_and_replaced() {
    let Some(redis) = Redis::start() else { return };
    let mut world = World::start(redis, 2000).await;
    let disturb = |world: &mut World, round: usize| match round % 20 {
        4 | 8 => world.replace(round % 3),
        10 => {
            Program::signal("STOP", world.replicas[0].child.id());
            world.is_gone[0] = true;
        }
        18 => {
            Program::signal("CONT", world.replicas[0].child.id());
            world.is_gone[0] = false;
        }
        _ => {}
    };
    world.run(disturb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_counter_falls_while_the_store_is_killed_and_comes_back_empty() {
    let Some(redis) = Redis::start() else { return };
    let mut world = World::start(redis, 2000).await;
    let disturb = |world: &mut World, round: usize| match round {
        5 | 27 => world.redis.kill(),
        10 | 32 => world.redis.start_again(),
        _ => {}
    };
    // The store waits for the newest state for 14 s each time.
    world.run_for(54, 1.0, 2.5, disturb).await;
    // Twice, however often it was asked.
    for said in ["cannot be reached", "can be reached again"] {
        for replica in &mut world.replicas {
            let lines = replica.lines().iter().filter(|line| line.contains(said));
            assert_eq!(lines.count(), 2, "{said}");
        }
    }
}
