//! The exporter's HTTP routes.
//!
//! * `GET /metrics`: the metrics, in the format that `Accept` asks for. Always 200;
//!   `sonorancad_up` reports a failed fetch.
//! * `GET /probe?community=<alias>`: the same for one community of the file, without the exporter's own metrics.
//! * `GET /sd`: the communities of the file, for Prometheus' `http_sd_configs`.
//! * `GET /-/healthy`: 200 while the process serves, whatever the API does.
//! * `GET /-/ready`: 200 once the configuration is read and the listener open, which is always.
//! * `GET /`: the status page, for people; `/?community=<alias>` for one of several communities. It asks the API nothing.
//! * `POST /-/reload`: reads the configuration again, as in Prometheus, where that is enabled.
//!
//! `OPTIONS` is answered 204 with `Allow` on every route.

mod discovery;
mod negotiation;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HOST, VARY};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use self::discovery::Target;
pub use self::negotiation::Negotiated;
use self::status::Content;
use crate::community::Communities;
use crate::exposition::{Coding, Renderer};
use crate::process::Process;
use crate::report::{CommunityReport, ExporterReport, Report};
use crate::toolkit::Toolkit;

/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// The client's time-out in seconds, if it states none.
const DEFAULT_SCRAPE_TIMEOUT: f64 = 10.0;

/// How much earlier than the client's time-out the answer goes out, in seconds.
const DEADLINE_MARGIN: f64 = 0.5;

/// The longest wait for fetches, whatever the client says: a request may take no more than 30 s.
const MAX_DEADLINE: Duration = Duration::from_secs(29);

/// A client asks to read the configuration again; it is answered what came of it.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the routes need.
#[derive(Clone)]
struct AppState {
    toolkit: Toolkit,
    communities: Arc<Communities>,
    /// Of `/metrics`. The communities of the file have none: 10,000 of them would keep 300 MB of text.
    renderer: Arc<Renderer>,
    /// Where Prometheus reaches the exporter, if not where it asks.
    external: Option<Arc<Target>>,
    /// Where the dashboards are, for the status page.
    dashboards: Option<Url>,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

/// The routes of the exporter, for [`Toolkit::serve`]. Clients reach it at `external_url` if there is a proxy before it
/// that removes that address' path. The status page links to `dashboards`. Without `reloads`, `/-/reload` is forbidden.
pub fn router(
    communities: Arc<Communities>,
    toolkit: Toolkit,
    external_url: Option<&Url>,
    dashboards: Option<Url>,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
) -> Router {
    let state = AppState {
        toolkit,
        communities,
        renderer: Arc::default(),
        external: external_url.map(|url| Arc::new(Target::from_url(url))),
        dashboards,
        reloads,
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/probe", get(probe))
        .route("/", get(status_page))
        .route("/sd", get(discovery))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload).fallback(only_post))
        .fallback(not_found)
        .method_not_allowed_fallback(other_method)
        .with_state(state)
}

impl AppState {
    /// Adds what the exporter reports about itself.
    fn with_exporter(&self, community: CommunityReport) -> Report {
        let exporter = ExporterReport {
            process: Process::read(),
            is_reload_successful: self.is_reload_successful(),
            panics: self.toolkit.panics(),
            is_shared_state_up: self.communities.is_shared_state_up(),
        };
        Report {
            community,
            exporter: Some(exporter),
        }
    }

    fn is_reload_successful(&self) -> bool {
        self.communities.is_reload_successful() && self.toolkit.is_newest()
    }

    /// What the status page shows: the community of this alias, which is empty for that of the environment; without an
    /// alias the only community, or all of them.
    fn status_content(&self, alias: Option<String>) -> Content {
        let communities = &self.communities;
        let (alias, report) = if let Some(alias) = alias {
            let report = communities.report_of(Some(&*alias).filter(|alias| !alias.is_empty()));
            (Some(alias), report)
        } else {
            let overview = communities.overview();
            let [(only, _)] = &overview.communities[..] else {
                return Content::Overview(overview);
            };
            (None, communities.report_of(only.as_deref()))
        };
        report.map_or(Content::Unknown, |report| Content::Community { alias, report })
    }
}

async fn status_page(
    State(state): State<AppState>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> impl IntoResponse {
    let request = status::Request::from_query(&parameters);
    let page = status::Page {
        content: state.status_content(request.community.clone()),
        request,
        is_reload_successful: state.is_reload_successful(),
        is_shared_state_up: state.communities.is_shared_state_up(),
        dashboards: state.dashboards,
    };
    page.respond()
}

async fn healthy() -> &'static str {
    "sonorancad-exporter is healthy.\n"
}

async fn ready() -> &'static str {
    "sonorancad-exporter is ready.\n"
}

/// Answers as Prometheus does.
async fn reload(State(state): State<AppState>) -> Response {
    let Some(reloads) = state.reloads else {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response();
    };
    let (reply, outcome) = oneshot::channel();
    let outcome = match reloads.send(reply).await {
        Ok(()) => outcome.await,
        Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    match outcome {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(reason)) => {
            let text = format!("failed to reload config: {reason}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        // The exporter stops.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn only_post(method: Method) -> Response {
    let allow = [(ALLOW, "POST,PUT")];
    if method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, allow).into_response();
    }
    let text = "Only POST or PUT requests allowed.\n";
    (StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response()
}

async fn not_found(method: Method, uri: Uri) -> Response {
    // The whole server, which is no route.
    if method == Method::OPTIONS && uri.path() == "*" {
        return (StatusCode::NO_CONTENT, [(ALLOW, "GET,HEAD")]).into_response();
    }
    let text = "There is nothing here; the metrics are at /metrics.\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

/// Answers `OPTIONS`, which load balancers send to check health, and refuses other methods. The router adds `Allow`.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let text = "Only GET, HEAD and OPTIONS are allowed here.\n";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let report = state.communities.scrape(deadline(&headers)).await;
    respond(state.with_exporter(report), &headers, &state.renderer)
}

/// The alias is looked up in the communities file; no request can name another target.
async fn probe(
    State(state): State<AppState>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let mut aliases = parameters.iter().filter(|(name, _)| name == "community");
    let (Some((_, alias)), None) = (aliases.next(), aliases.next()) else {
        let text = "Exactly one `community` parameter is required: /probe?community=<alias>; /sd lists the aliases.\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    match state.communities.probe(alias, deadline(&headers)).await {
        Some(community) => {
            let report = Report {
                community,
                exporter: None,
            };
            respond(report, &headers, &Renderer::default())
        }
        None => (
            StatusCode::NOT_FOUND,
            "There is no such community; /sd lists the aliases.\n",
        )
            .into_response(),
    }
}

async fn discovery(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let own = || Target::from_host(headers.get(HOST)?).map(Arc::new);
    match state.external.or_else(own) {
        Some(target) => discovery::respond(state.communities.listed(), target).into_response(),
        None => (StatusCode::BAD_REQUEST, "The Host header is missing or invalid.\n").into_response(),
    }
}

/// The body is complete before it is sent. Compressed on the way, a client that reads slowly would keep the whole text and
/// the compressor in memory: with 100 servers and 500 such clients 900 MiB, instead of 90 MiB.
fn respond(report: Report, headers: &HeaderMap, renderer: &Renderer) -> Response {
    let Negotiated {
        format,
        content_type,
        coding,
    } = Negotiated::from_headers(headers);
    let encoding = (coding == Coding::Gzip).then_some([(CONTENT_ENCODING, "gzip")]);
    match renderer.render(report, format, coding) {
        Ok(body) => {
            let headers = [(CONTENT_TYPE, content_type), (VARY, "Accept, accept-encoding")];
            (headers, encoding, body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// How long a scrape may wait for fetches: a little less than its client waits for the answer.
fn deadline(headers: &HeaderMap) -> Duration {
    let timeout = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
        .unwrap_or(DEFAULT_SCRAPE_TIMEOUT);
    let seconds = (timeout - DEADLINE_MARGIN).max(timeout / 2.0);
    Duration::try_from_secs_f64(seconds).map_or(MAX_DEADLINE, |deadline| deadline.min(MAX_DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_deadline(timeout: Option<&str>, expected_millis: u64) {
        let mut headers = HeaderMap::new();
        if let Some(timeout) = timeout {
            headers.insert(SCRAPE_TIMEOUT, timeout.parse().expect("a header value"));
        }
        assert_eq!(
            deadline(&headers),
            Duration::from_millis(expected_millis),
            "{timeout:?}"
        );
    }

    #[test]
    fn a_scrape_waits_a_little_less_than_its_client() {
        assert_deadline(Some("10"), 9500);
        assert_deadline(Some("2.5"), 2000);
        assert_deadline(Some("1"), 500);
        assert_deadline(Some("0.5"), 250);
        assert_deadline(Some("60"), 29_000);
        assert_deadline(Some("1e300"), 29_000);
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
            assert_deadline(timeout, 9500);
        }
    }
}
