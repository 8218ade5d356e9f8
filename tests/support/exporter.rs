//! The exporter, started from variables and asked over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, HeaderMap};
use sonorancad_exporter::Exporter;
use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{Config, Setting};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::cad::Cad;

/// 2026-11-23T12:00:00Z, when most tests begin.
pub(crate) const NOON: Duration = Duration::from_secs(1_795_435_200);

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// How long a test waits before it fails as hung. It only ends a wait that would last for ever, so it is far above what
/// a busy machine needs; nothing is measured by it.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(120);

/// A running exporter.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) communities: Arc<Communities>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    http: reqwest::Client,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Running {
    /// Starts it for `cad` on API version v1, with `more` variables, on the system's clock.
    pub(crate) fn start(cad: &Cad, more: &[(&str, &str)]) -> Self {
        Self::start_at(cad, more, &Clock::system())
    }

    /// The same at noon, on a clock that is moved by hand.
    pub(crate) fn start_at_noon(cad: &Cad, more: &[(&str, &str)]) -> (Self, ManualClock) {
        let clock = ManualClock::new(NOON);
        (Self::start_at(cad, more, &Clock::Manual(clock.clone())), clock)
    }

    fn start_at(cad: &Cad, more: &[(&str, &str)], clock: &Clock) -> Self {
        Self::start_with(&cad.url(), more, clock)
    }

    /// Starts it for the API at `url`.
    pub(crate) fn start_with(url: &str, more: &[(&str, &str)], clock: &Clock) -> Self {
        let mut variables = vec![
            ("SONORANCAD_COMMUNITY_ID", "mycommunity"),
            ("SONORANCAD_API_KEY", "the-secret-key"),
            ("SONORANCAD_API_URL", url),
            ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
        ];
        variables.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        variables.extend(more);
        let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into()));
        let config = Config::read(Setting::from_environment(variables)).unwrap();
        let exporter = Exporter::bind(&config, clock).unwrap();
        let address = exporter.local_addresses()[0];
        let communities = exporter.communities();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(exporter.run(async {
            let _ = stopped.await;
        }));
        let http = http();
        Self {
            address,
            communities,
            stop,
            task,
            http,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method.parse().unwrap(), url)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.request("GET", path)).await
    }

    /// Scrapes in the classic format.
    pub(crate) async fn scrape(&self) -> String {
        self.scrape_as("text/plain").await
    }

    pub(crate) async fn scrape_as(&self, accept: &str) -> String {
        let reply = reply(self.request("GET", "/metrics").header(ACCEPT, accept)).await;
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body).unwrap()
    }

    /// Scrapes as a client that waits no longer than `seconds`.
    pub(crate) async fn scrape_within(&self, seconds: &str) -> String {
        let request = self
            .request("GET", "/metrics")
            .header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
        let reply = reply(request).await;
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body).unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A client for addresses of this machine.
pub(crate) fn http() -> reqwest::Client {
    // Fails when it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
            .to_str()
            .unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Lets time pass until so long after 1970, unless latencies have taken it further.
pub(crate) fn move_to(clock: &ManualClock, unix: Duration) {
    let now = Clock::Manual(clock.clone()).now().unix;
    clock.advance(unix.saturating_sub(now));
}

/// Waits until a condition is met; fails as hung after [`HANG_GUARD`].
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < HANG_GUARD, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The value of the sample that is written so.
#[track_caller]
pub(crate) fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Whether any sample's name begins so.
pub(crate) fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.starts_with(name))
}

/// The labels of the failures that were counted, with their counts.
pub(crate) fn failures(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter(|line| line.starts_with("sonorancad_api_errors_total{") && !line.ends_with(" 0"))
        .map(|line| {
            let (_, rest) = line.split_once("error=\"").unwrap();
            let (error, count) = rest.rsplit_once("\"} ").unwrap();
            (error.to_owned(), count.parse().unwrap())
        })
        .collect()
}
