//! Replicas as `deploy/compose.replicas.yaml` runs them: three behind `HAProxy`, and two Prometheus that scrape every 15 s, in
//! front of a simulated community with the limit of version v2 and a game server.
//!
//! They take ten minutes each, and one of them more than an hour. They print what they measure:
//!
//! ```console
//! cargo test --test siege -- --ignored --nocapture replicas::deployed
//! ```

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad};
use tempfile::{TempDir, tempdir};

use super::connection::way;
use super::redis::Redis;
use crate::support::exporter::{eventually, http};
use crate::support::program::{BINARY, Program};
use crate::support::simulated;
use crate::support::tools::{Daemon, Prometheus, free_port, has};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How long before its end a run is left alone, so that what has happened is counted.
const REST: u64 = 100;

/// Everything that runs.
struct World {
    cad: Cad,
    /// When the API has answered, and with which status.
    answers: Arc<Mutex<Vec<(Instant, u16)>>>,
    api: String,
    redis: Redis,
    ports: [u16; 3],
    replicas: Vec<Program>,
    /// The lines in the logs of replicas that have been replaced.
    old_lines: Vec<String>,
    balancer: Balancer,
    prometheus: Vec<Prometheus>,
    begin: Instant,
    /// The true numbers of calls that opened and closed, before and after the first answer of the API.
    truth: [[u64; 2]; 2],
}

/// `HAProxy` with the configuration that is shipped, but for the addresses; killed when dropped.
struct Balancer {
    _daemon: Daemon,
    url: String,
    _folder: TempDir,
}

impl Balancer {
    fn start(ports: [u16; 3]) -> Self {
        let folder = tempdir().unwrap();
        let port = free_port();
        let mut config = fs::read_to_string(format!("{ROOT}/deploy/replicas/haproxy.cfg")).unwrap();
        config = config.replace("bind :10911", &format!("bind 127.0.0.1:{port}"));
        let servers = config.find("  server ").unwrap();
        config.truncate(servers);
        for port in ports {
            writeln!(config, "  server exporter-{port} 127.0.0.1:{port}").unwrap();
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        Self {
            _daemon: Daemon::start(Command::new("haproxy").arg("-f").arg(&file)),
            url: format!("127.0.0.1:{port}"),
            _folder: folder,
        }
    }
}

/// A Prometheus with the configuration that is shipped, but for the addresses and the interval.
fn prometheus(balancer: &str, ports: [u16; 3]) -> Prometheus {
    let mut config = fs::read_to_string(format!("{ROOT}/deploy/replicas/prometheus.yml")).unwrap();
    let replicas = ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
    for (shipped, here) in [
        ("_interval: 30s", "_interval: 15s"),
        ("/etc/prometheus/", &format!("{ROOT}/deploy/prometheus/")),
        ("balancer:10911", balancer),
        ("\"exporter-1:10911\", \"exporter-2:10911\"", &replicas),
    ] {
        assert!(config.contains(shipped), "{shipped}");
        config = config.replace(shipped, here);
    }
    Prometheus::start(tempdir().unwrap(), &config)
}

impl World {
    /// `None` where a tool is missing.
    async fn start(options: &[&str]) -> Option<Self> {
        if !has("haproxy", &["-v"]) || !has("prometheus", &["--version"]) {
            return None;
        }
        let redis = Redis::start_with(tempdir().unwrap(), options)?;
        let (cad, url) = simulated::start(5, 200, 1, &Clock::system()).await;
        let answers = Arc::new(Mutex::new(Vec::new()));
        let noted = answers.clone();
        let pass = move |bytes: &[u8]| {
            if let Some(rest) = bytes.strip_prefix(b"HTTP/1.1 ") {
                let status = std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap();
                noted.lock().push((Instant::now(), status));
            }
            std::future::ready(())
        };
        let api = way(url.trim_start_matches("http://").to_owned(), pass).await;
        let ports = [(); 3].map(|()| free_port());
        let balancer = Balancer::start(ports);
        let mut world = Self {
            cad,
            answers,
            api: format!("http://{api}"),
            redis,
            ports,
            replicas: Vec::new(),
            old_lines: Vec::new(),
            prometheus: Vec::new(),
            balancer,
            begin: Instant::now(),
            truth: [[0; 2]; 2],
        };
        world.replicas = ports.iter().map(|port| world.replica(*port)).collect();
        world.truth[0] = world.true_calls();
        eventually("the balancer has a replica", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.scrape().await.contains("sonorancad_up{server_id=\"1\"} 1")
        })
        .await;
        world.truth[1] = world.true_calls();
        world.begin = Instant::now();
        world.prometheus.push(prometheus(&world.balancer.url, ports));
        // The two do not scrape at the same moments.
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.prometheus.push(prometheus(&world.balancer.url, ports));
        Some(world)
    }

    fn replica(&self, port: u16) -> Program {
        let mut command = Command::new(BINARY);
        command.env_clear().envs([
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID),
            ("SONORANCAD_API_KEY", API_KEY),
            ("SONORANCAD_API_VERSION", "v2"),
            ("SONORANCAD_API_URL", &self.api),
            ("SONORANCAD_LISTEN_ADDRESS", &format!("127.0.0.1:{port}")),
            ("SONORANCAD_SHARED_STATE_URL", &self.redis.url),
        ]);
        Program::start(command)
    }

    /// Ends a replica by this signal, and starts another one in its place.
    fn replace(&mut self, index: usize, signal: &str) {
        Program::signal(signal, self.replicas[index].child.id());
        self.replicas[index].wait();
        let lines = self.replicas[index].lines().to_vec();
        self.old_lines.extend(lines);
        self.replicas[index] = self.replica(self.ports[index]);
    }

    fn signal(&self, index: usize, name: &str) {
        Program::signal(name, self.replicas[index].child.id());
    }

    /// What a scrape through the balancer shows; empty while it has no replica.
    async fn scrape(&self) -> String {
        let url = format!("http://{}/metrics", self.balancer.url);
        match http().get(url).send().await {
            Ok(reply) => reply.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    fn true_calls(&self) -> [u64; 2] {
        let truth = self.cad.statistics(1).unwrap();
        [truth.opened(), truth.closed()]
    }

    /// Runs for so many seconds; before each of them, `disturb` is told how many have passed. It is not called at the end.
    async fn run(&mut self, seconds: u64, mut disturb: impl FnMut(&mut Self, u64)) -> String {
        let begin = self.begin;
        let reach = async |second| tokio::time::sleep_until((begin + Duration::from_secs(second)).into()).await;
        for second in 1..seconds - REST {
            reach(second).await;
            disturb(self, second);
        }
        reach(seconds - 40).await;
        let least = self.true_calls();
        reach(seconds).await;
        let text = self.scrape().await;
        let most = self.true_calls();
        self.report(seconds, &text, [least, most]).await
    }

    /// What was measured.
    async fn report(&mut self, seconds: u64, text: &str, truth: [[u64; 2]; 2]) -> String {
        let mut report = String::from("\n");
        let answers = self.answers.lock().clone();
        let window = Duration::from_secs(60);
        let in_window = |begin: &Instant| {
            let ends = answers.iter().map(|(at, _)| *at);
            ends.filter(|at| at >= begin && *at < *begin + window).count()
        };
        let most = answers.iter().map(|(begin, _)| in_window(begin)).max();
        let refused = answers.iter().filter(|(_, status)| *status == 429).count();
        writeln!(
            report,
            "{} requests in {seconds} s, at most {} in 60 s, {refused} x 429",
            answers.len(),
            most.unwrap_or_default()
        )
        .unwrap();
        for (index, kind) in ["opened", "closed"].into_iter().enumerate() {
            let family = format!("sonorancad_calls_{kind}_total{{");
            let series = text.lines().filter(|line| line.starts_with(&family));
            let counted: f64 = series
                .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
                .sum();
            let [least, most] = [
                truth[0][index] - self.truth[1][index],
                truth[1][index] - self.truth[0][index],
            ];
            writeln!(report, "{kind}: {counted} counted, {least} to {most} in truth").unwrap();
        }
        let resets = self.measure(seconds, &mut report).await;
        let mut lines = self.old_lines.clone();
        for replica in &mut self.replicas {
            lines.extend(replica.lines().to_vec());
            writeln!(report, "memory of a replica: {} KiB", replica.kibibytes("VmRSS")).unwrap();
        }
        for said in ["cannot be reached", "can be reached again", "WARN", "ERROR"] {
            let count = lines.iter().filter(|line| line.contains(said)).count();
            writeln!(report, "{count} lines in all logs contain {said:?}").unwrap();
        }
        eprintln!("{report}");
        assert_eq!(resets, Vec::<String>::new());
        assert_eq!(refused, 0);
        report
    }

    /// What both Prometheus say. Returns the counters that have fallen.
    async fn measure(&self, seconds: u64, report: &mut String) -> Vec<String> {
        let mut fallen = Vec::new();
        let age = "sonorancad_last_success_timestamp_seconds{job=\"sonorancad\",api_endpoint=\"calls\"}";
        for prometheus in &self.prometheus {
            let names = prometheus.get("/api/v1/label/__name__/values", &[("match[]", "{job=\"sonorancad\"}")]);
            let names = names.await.unwrap()["data"].as_array().unwrap().clone();
            let names = names.iter().map(|name| name.as_str().unwrap());
            let is_counter = |name: &&str| {
                ["_total", "_bucket", "_count", "_sum"]
                    .iter()
                    .any(|end| name.ends_with(end))
            };
            let counters: Vec<_> = names
                .filter(|name| name.starts_with("sonorancad_"))
                .filter(is_counter)
                .collect();
            for name in &counters {
                let resets = format!("sum(resets({name}{{job=\"sonorancad\"}}[{seconds}s])) > 0");
                let resets = prometheus.query(&resets).await;
                fallen.extend(resets.iter().map(|resets| format!("{name}: {resets}")));
            }
            let mut line = format!("Prometheus: {} counters without a reset", counters.len() - fallen.len());
            for (what, query) in [
                (
                    "scrapes",
                    format!("count_over_time(up{{job=\"sonorancad\"}}[{seconds}s])"),
                ),
                ("good", format!("sum_over_time(up{{job=\"sonorancad\"}}[{seconds}s])")),
                (
                    "with counters",
                    format!("max(count_over_time(sonorancad_api_requests_total{{job=\"sonorancad\"}}[{seconds}s]))"),
                ),
                (
                    "greatest age at a scrape",
                    format!("max_over_time((timestamp({age}) - {age})[{seconds}s:1s])"),
                ),
                (
                    "median",
                    format!("quantile_over_time(0.5, (timestamp({age}) - {age})[{seconds}s:1s])"),
                ),
            ] {
                write!(line, ", {what} {:?}", prometheus.query(&query).await).unwrap();
            }
            let alerts = [("match[]", "ALERTS{alertstate=\"firing\"}")];
            let alerts = prometheus.get("/api/v1/label/alertname/values", &alerts).await.unwrap();
            writeln!(report, "{line}, alerts {}", alerts["data"]).unwrap();
        }
        fallen
    }
}

/// Which one of so many has its turn in this second, if one has every 20 s.
fn turn(second: u64, of: usize) -> usize {
    usize::try_from(second / 20).unwrap() % of
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes"]
async fn three_replicas_are_one() {
    let Some(mut world) = World::start(&[]).await else {
        return;
    };
    world.run(600, |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twelve minutes"]
async fn replicas_are_killed_stopped_and_rolled() {
    let Some(mut world) = World::start(&[]).await else {
        return;
    };
    let disturb = |world: &mut World, second: u64| match second {
        200 => world.signal(0, "STOP"),
        260 => world.signal(0, "CONT"),
        400 | 420 | 440 => world.replace(turn(second, 3), "TERM"),
        // The one that stands still is left alone.
        201..260 if second.is_multiple_of(20) => world.replace(1 + turn(second, 2), "KILL"),
        _ if second.is_multiple_of(20) => world.replace(turn(second, 3), "KILL"),
        _ => {}
    };
    world.run(720, disturb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twelve minutes"]
async fn the_store_is_killed_and_comes_back_with_and_without_what_it_knew() {
    let Some(mut world) = World::start(&["--appendonly", "yes"]).await else {
        return;
    };
    let disturb = |world: &mut World, second: u64| match second {
        120 | 300 | 480 => world.redis.kill(),
        // At once, after a minute, and after a minute without its files.
        121 | 360 => world.redis.start_again(),
        540 => {
            world.redis.forget();
            world.redis.start_again();
        }
        _ => {}
    };
    world.run(720, disturb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "seventy minutes"]
async fn the_store_is_away_for_an_hour() {
    let Some(mut world) = World::start(&["--appendonly", "yes"]).await else {
        return;
    };
    let disturb = |world: &mut World, second: u64| match second {
        240 => world.redis.kill(),
        3840 => world.redis.start_again(),
        _ => {}
    };
    world.run(4200, disturb).await;
}
