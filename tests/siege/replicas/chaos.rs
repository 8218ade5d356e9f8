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
struct World {
    cad: Cad,
    url: String,
    redis: Redis,
    variables: Vec<(&'static str, &'static str)>,
    replicas: Vec<Program>,
    /// Those that the balancer leaves out.
    is_gone: Vec<bool>,
    /// Every counter as each Prometheus saw it last.
    seen: [BTreeMap<String, f64>; 2],
    turn: usize,
    falls: Vec<String>,
    text: String,
}

impl World {
    /// With answers every two seconds.
    async fn start(redis: Redis, calls_per_hour: u32) -> Self {
        let variables = [
            ("SONORANCAD_API_VERSION", "v1"),
            ("SONORANCAD_API_TIMEOUT", "1s"),
            ("SONORANCAD_CACHE_TTL", "2s"),
            ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ];
        Self::start_with(redis, calls_per_hour, &variables).await
    }

    async fn start_with(redis: Redis, calls_per_hour: u32, variables: &[(&'static str, &'static str)]) -> Self {
        let (cad, url) = simulated::start(5, calls_per_hour, 1, &Clock::system()).await;
        let mut world = Self {
            cad,
            url,
            redis,
            variables: variables.to_vec(),
            replicas: Vec::new(),
            is_gone: vec![false; 3],
            seen: Default::default(),
            turn: 0,
            falls: Vec::new(),
            text: String::new(),
        };
        world.replicas = (0..3).map(|_| world.replica()).collect();
        world
    }

    fn replica(&self) -> Program {
        let mut command = Command::new(BINARY);
        command.env_clear().envs([
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
            ("SONORANCAD_API_URL", &self.url),
            ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
            ("SONORANCAD_SHARED_STATE_URL", &self.redis.url),
        ]);
        command.envs(self.variables.iter().copied());
        Program::start(command)
    }

    /// Ends a replica at once, and starts another one.
    fn replace(&mut self, index: usize) {
        Program::signal("KILL", self.replicas[index].child.id());
        self.replicas[index] = self.replica();
    }

    /// A scrape by each Prometheus, of another replica each time.
    async fn scrape(&mut self) {
        for prometheus in 0..2 {
            self.turn += 1;
            while self.is_gone[self.turn % 3] {
                self.turn += 1;
            }
            self.text = self.replicas[self.turn % 3].scrape().await;
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

    fn sum(&self, family: &str) -> f64 {
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

    /// Lets every Prometheus scrape once a second for a minute, and `disturb` before each of these rounds. At the end, no
    /// counter has fallen, and all calls are counted.
    async fn run(&mut self, disturb: impl FnMut(&mut Self, usize)) {
        self.run_for(60, 1.0, 2.5, disturb).await;
    }

    /// The same with so many rounds, this far apart, and this long before the last one.
    async fn run_for(&mut self, rounds: usize, interval: f64, rest: f64, mut disturb: impl FnMut(&mut Self, usize)) {
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
        assert_eq!(failures(&self.text), []);
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
    let disturb = |world: &mut World, round: usize| match round % 20 {
        5 => world.redis.kill(),
        12 => world.redis.start_again(),
        _ => {}
    };
    world.run(disturb).await;
}

/// At the settings that people have, beside a game server that uses the same key: `--ignored` runs it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes"]
async fn the_limit_of_the_api_is_never_reached_by_three_replicas() {
    let Some(redis) = Redis::start() else { return };
    let mut world = World::start_with(redis, 200, &[("SONORANCAD_API_VERSION", "v2")]).await;
    let disturb = |world: &mut World, round: usize| {
        if round % 4 == 3 {
            world.replace(round % 3);
        }
    };
    world.run_for(120, 5.0, 40.0, disturb).await;
    let requests = world.sum("sonorancad_api_requests_total");
    eprintln!("{requests} requests in 640 s");
    assert!(requests <= 4.0 * 12.0, "{requests}");
}
