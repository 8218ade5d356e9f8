//! The exporter's HTTP routes.
//!
//! * `GET /metrics`: the metrics, in the format that `Accept` asks for. Always 200;
//!   `sonorancad_up` tells a failed fetch.
//! * `GET /probe?community=<alias>`: the same of one community of the file, without the exporter's own.
//! * `GET /sd`: the communities of the file, for Prometheus' `http_sd_configs`.
//! * `GET /-/healthy`: 200 while the process serves, whatever the API does.
//! * `GET /-/ready`: 200 once the configuration is read and the listener open, which is always.
//! * `GET /`: the status page, for people. It asks the API nothing.

mod discovery;
mod listen;
mod negotiation;
mod status;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpListener;

use crate::community::{Directory, Report};
use crate::exposition::{self, Format};

/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// How long a client waits that does not say so.
const DEFAULT_SCRAPE_TIMEOUT: f64 = 10.0;

/// How much earlier than the client's time-out the answer goes out, in seconds.
const HEAD_START: f64 = 0.5;

/// The longest wait for fetches, whatever the client says: a request may take no more than 30 s.
const LONGEST_PATIENCE: Duration = Duration::from_secs(29);

/// Open sockets that are not served yet.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Listener {
    /// Opens every address.
    ///
    /// # Errors
    ///
    /// The first address that cannot be opened, because it is taken or is not this machine's.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let mut sockets = Vec::new();
        for &address in addresses {
            let socket = TcpListener::bind(address)
                .await
                .map_err(|source| ListenError { address, source })?;
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// The addresses that are open; a port 0 that was asked for is a real one here.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// Serves `communities` until `shutdown` completes and what is in service then is answered, for a
    /// few seconds at most.
    pub async fn serve(self, communities: Arc<Directory>, shutdown: impl Future<Output = ()>) {
        let router = Router::new()
            .route("/", get(status_page))
            .route("/metrics", get(metrics))
            .route("/probe", get(probe))
            .route("/sd", get(discovery))
            .route("/-/healthy", get(healthy))
            .route("/-/ready", get(ready))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(communities);
        listen::serve(self.sockets, router, shutdown).await;
    }
}

async fn status_page(State(communities): State<Arc<Directory>>) -> impl IntoResponse {
    status::respond(&communities.report(), &communities.reports())
}

async fn healthy() -> &'static str {
    "sonorancad-exporter is healthy.\n"
}

async fn ready() -> &'static str {
    "sonorancad-exporter is ready.\n"
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "There is nothing here; the metrics are at /metrics.\n",
    )
}

async fn method_not_allowed() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are allowed here.\n")
}

async fn metrics(State(communities): State<Arc<Directory>>, headers: HeaderMap) -> Response {
    let report = communities.scrape(patience(&headers)).await;
    respond(report, &headers)
}

/// The alias names a community of the file, and can be nothing else.
async fn probe(
    State(communities): State<Arc<Directory>>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let mut aliases = parameters.iter().filter(|(name, _)| name == "community");
    let (Some((_, alias)), None) = (aliases.next(), aliases.next()) else {
        let text = "Say once which community: /probe?community=<alias>; /sd lists the aliases.\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    match communities.probe(alias, patience(&headers)).await {
        Some(report) => respond(report, &headers),
        None => (
            StatusCode::NOT_FOUND,
            "There is no such community; /sd lists the aliases.\n",
        )
            .into_response(),
    }
}

async fn discovery(State(communities): State<Arc<Directory>>, headers: HeaderMap) -> Response {
    match discovery::target(headers.get(HOST)) {
        Some(target) => discovery::respond(&communities.aliases(), target).into_response(),
        None => (StatusCode::BAD_REQUEST, "The header Host is missing, or not a host.\n").into_response(),
    }
}

fn respond(report: Report, headers: &HeaderMap) -> Response {
    let format = negotiation::format(headers);
    match exposition::render(&Arc::new(report), format) {
        Ok(text) if negotiation::accepts_gzip(headers) => (
            [(CONTENT_ENCODING, "gzip")],
            metrics_headers(format),
            gzip(text.as_bytes()),
        )
            .into_response(),
        Ok(text) => (metrics_headers(format), text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn metrics_headers(format: Format) -> [(HeaderName, &'static str); 2] {
    [(CONTENT_TYPE, format.content_type()), (VARY, "Accept, Accept-Encoding")]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to a Vec does not fail")
}

/// How long a scrape may wait for fetches: a little less than its client waits for the answer.
fn patience(headers: &HeaderMap) -> Duration {
    let timeout = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
        .unwrap_or(DEFAULT_SCRAPE_TIMEOUT);
    let seconds = (timeout - HEAD_START).max(timeout / 2.0);
    Duration::try_from_secs_f64(seconds).map_or(LONGEST_PATIENCE, |patience| patience.min(LONGEST_PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_patience(timeout: Option<&str>, expected_millis: u64) {
        let mut headers = HeaderMap::new();
        if let Some(timeout) = timeout {
            headers.insert(SCRAPE_TIMEOUT, timeout.parse().expect("a header value"));
        }
        assert_eq!(
            patience(&headers),
            Duration::from_millis(expected_millis),
            "{timeout:?}"
        );
    }

    #[test]
    fn a_scrape_waits_a_little_less_than_its_client() {
        assert_patience(Some("10"), 9500);
        assert_patience(Some("2.5"), 2000);
        assert_patience(Some("1"), 500);
        assert_patience(Some("0.5"), 250);
        assert_patience(Some("60"), 29_000);
        assert_patience(Some("1e300"), 29_000);
    }

    #[test]
    fn nonsense_counts_as_the_default_of_prometheus() {
        for timeout in [
            None,
            Some(""),
            Some("0"),
            Some("-3"),
            Some("NaN"),
            Some("inf"),
            Some("soon"),
        ] {
            assert_patience(timeout, 9500);
        }
    }
}
