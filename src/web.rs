//! The exporter's HTTP routes.
//!
//! * `GET /metrics`: the metrics, in the format that `Accept` asks for. Always 200;
//!   `sonorancad_up` tells a failed fetch.
//! * `GET /probe?community=<alias>`: the same of one community of the file, without the exporter's own.
//! * `GET /sd`: the communities of the file, for Prometheus' `http_sd_configs`.
//! * `GET /-/healthy`: 200 while the process serves, whatever the API does.
//! * `GET /-/ready`: 200 once the configuration is read and the listener open, which is always.
//! * `GET /`: the status page, for people. It asks the API nothing.

mod auth;
mod config;
mod discovery;
mod files;
mod listen;
mod negotiation;
mod reload;
mod status;
mod tls;

use std::any::Any;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, VARY, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use flate2::Compression;
use flate2::write::GzEncoder;
use tower_http::catch_panic::CatchPanicLayer;

use self::auth::{Authenticator, Credentials};
pub use self::config::{WebConfigError, parse as parse_config};
use self::listen::Connection;
pub use self::listen::{ListenError, Listener};
pub use self::negotiation::Wish;
use self::reload::LiveConfig;
use crate::community::Communities;
use crate::exposition::{self, Format};
use crate::process::Process;
use crate::report::{CommunityReport, ExporterReport, Report};

/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// How long a client waits that does not say so.
const DEFAULT_SCRAPE_TIMEOUT: f64 = 10.0;

/// How much earlier than the client's time-out the answer goes out, in seconds.
const HEAD_START: f64 = 0.5;

/// The longest wait for fetches, whatever the client says: a request may take no more than 30 s.
const LONGEST_PATIENCE: Duration = Duration::from_secs(29);

/// How the metrics are served: what the web configuration file says, as it changes.
#[derive(Clone, Debug)]
pub struct Web {
    config: Arc<LiveConfig>,
    authenticator: Arc<Authenticator>,
    /// Requests that met a fault of this program.
    panics: Arc<AtomicU64>,
}

/// What answers a request.
#[derive(Clone)]
struct Answerer {
    web: Web,
    communities: Arc<Communities>,
}

impl Web {
    /// Reads the web configuration file; without one, everyone is answered over plain HTTP.
    ///
    /// # Errors
    ///
    /// The file, or one that it names, cannot be used.
    pub fn new(config_file: Option<&Path>) -> Result<Self, WebConfigError> {
        Ok(Self {
            config: Arc::new(LiveConfig::open(config_file)?),
            authenticator: Arc::new(Authenticator::new()),
            panics: Arc::default(),
        })
    }

    /// Whether it is to be asked over HTTPS, as things are now.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.config.current().tls().is_some()
    }

    /// Serves `communities` until `shutdown` completes and what is in service then is answered, for a
    /// few seconds at most.
    pub async fn serve(self, listener: Listener, communities: Arc<Communities>, shutdown: impl Future<Output = ()>) {
        let config = self.config.clone();
        let answerer = Answerer {
            web: self.clone(),
            communities,
        };
        let routes = Router::new()
            .route("/", get(status_page))
            .route("/metrics", get(metrics))
            .route("/probe", get(probe))
            .route("/sd", get(discovery))
            .route("/-/healthy", get(healthy))
            .route("/-/ready", get(ready))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(answerer);
        tokio::select! {
            () = listener.serve(self.guard(routes), config.clone(), shutdown) => {}
            () = config.watch() => {}
        }
    }

    /// Lets those in who may ask, as far as their requests are fit to be answered. A fault in an answer
    /// is that request's alone.
    fn guard(self, routes: Router) -> Router {
        let panics = self.panics.clone();
        let fault = move |_: Box<dyn Any + Send>| {
            panics.fetch_add(1, Ordering::Relaxed);
            let text = "A fault of the exporter; please report it.\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        };
        // The last one is the outermost.
        routes
            .layer(from_fn_with_state(self.clone(), authenticate))
            .layer(from_fn(refuse_unfit))
            .layer(CatchPanicLayer::custom(fault))
            .layer(from_fn_with_state(self, add_headers))
    }

    /// What the exporter says of itself.
    fn report(&self, communities: &Communities) -> ExporterReport {
        ExporterReport {
            process: Process::read(),
            is_reload_successful: communities.is_reload_successful() && self.config.is_newest(),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }
}

impl Answerer {
    fn with_exporter(&self, community: CommunityReport) -> Report {
        Report {
            community,
            exporter: Some(self.web.report(&self.communities)),
        }
    }
}

/// Lets users in, and everyone where there are none.
async fn authenticate(
    State(web): State<Web>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    let config = web.config.current();
    let users = config.users();
    let is_admitted = users.is_empty()
        || match Credentials::from_headers(request.headers()) {
            Some(credentials) => web.authenticator.admits(users, connection.client, credentials).await,
            None => false,
        };
    if !is_admitted {
        let challenge = [(
            WWW_AUTHENTICATE,
            "Basic realm=\"sonorancad-exporter\", charset=\"UTF-8\"",
        )];
        let text = "A user name and a password are needed here.\n";
        return (StatusCode::UNAUTHORIZED, challenge, text).into_response();
    }
    connection.admit();
    next.run(request).await
}

/// No request here has a body, so that none is read; and each names one host, or in HTTP/1.0 none
/// ([RFC 9112, section 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
async fn refuse_unfit(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return (StatusCode::BAD_REQUEST, "The header Host is missing, or there twice.\n").into_response();
    }
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let text = "No request here has a body.\n";
    (StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], text).into_response()
}

/// Adds the headers of the web configuration file, which win over others.
async fn add_headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in web.config.current().headers() {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

async fn status_page(State(answerer): State<Answerer>) -> impl IntoResponse {
    let communities = &answerer.communities;
    let (others, count) = communities.most_urgent_reports(status::MAX_COMMUNITIES);
    status::respond(&answerer.with_exporter(communities.report()), &others, count)
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

async fn metrics(State(answerer): State<Answerer>, headers: HeaderMap) -> Response {
    let report = answerer.communities.scrape(patience(&headers)).await;
    respond(answerer.with_exporter(report), &headers)
}

/// The alias names a community of the file, and can be nothing else.
async fn probe(
    State(answerer): State<Answerer>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let mut aliases = parameters.iter().filter(|(name, _)| name == "community");
    let (Some((_, alias)), None) = (aliases.next(), aliases.next()) else {
        let text = "Say once which community: /probe?community=<alias>; /sd lists the aliases.\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    match answerer.communities.probe(alias, patience(&headers)).await {
        Some(community) => respond(
            Report {
                community,
                exporter: None,
            },
            &headers,
        ),
        None => (
            StatusCode::NOT_FOUND,
            "There is no such community; /sd lists the aliases.\n",
        )
            .into_response(),
    }
}

async fn discovery(State(answerer): State<Answerer>, headers: HeaderMap) -> Response {
    match discovery::target(headers.get(HOST)) {
        Some(target) => discovery::respond(answerer.communities.aliases(), target).into_response(),
        None => (StatusCode::BAD_REQUEST, "The header Host is missing, or not a host.\n").into_response(),
    }
}

fn respond(report: Report, headers: &HeaderMap) -> Response {
    let Wish { format, is_gzip } = Wish::from_headers(headers);
    match exposition::render(&Arc::new(report), format) {
        Ok(text) if is_gzip => (
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
