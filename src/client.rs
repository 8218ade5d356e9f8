//! Fetches a snapshot from the API over HTTP.
//!
//! The key goes to the configured address and nowhere else: redirects are not followed, and of an answer
//! no error holds more than an error string in capitals. What holds it is wiped when the request is over; the
//! buffers of HTTP and TLS, through which it goes, are not.
//!
//! Nothing that an API answers takes more than its share: of memory (few large answers are held at once,
//! however many are asked for), of time (the API's time-out) or of the processor (threads of the
//! client's own).

mod body;
mod courier;
mod error;
mod secret;
mod v1;
mod v2;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use self::body::Body;
use self::courier::{Answer, Courier};
pub use self::courier::{MOST_FILES, MOST_REQUESTS};
pub use self::error::{FetchError, PauseRequest, Refusal, Retry, labels};
use crate::config::{ApiConfig, ApiVersion};
use crate::process::VERSION;
use crate::snapshot::Snapshot;

/// The largest answer that is read, compressed or not: 100,000 calls are 33 MB.
const MOST_BODY_BYTES: usize = 48 << 20;

/// The largest list of servers that is read.
const MOST_SERVERS_BYTES: usize = 1 << 20;

/// At most so many texts that are not known in advance become labels, in the life of a process.
const MOST_UNLISTED: usize = 20;

/// Asks the API. Clones share their threads and bounds; there is one set of them in the process.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// For addresses of this machine, which no proxy can reach.
    local_http: reqwest::Client,
    courier: Arc<Courier>,
    unlisted: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No CA certificates are found where they are needed. A proxy's address that cannot be read is passed over.
    #[error("cannot prepare HTTPS; are this machine's CA certificates installed?")]
    Https(#[source] reqwest::Error),
    /// There are no threads for it.
    #[error("cannot start the threads that talk to the API")]
    Threads(#[source] io::Error),
}

impl Client {
    /// A client that trusts what this machine trusts and honours `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`;
    /// without certificates, only plain HTTP works.
    ///
    /// # Errors
    ///
    /// HTTPS cannot be prepared, or there are no threads for it.
    pub fn new(needs_certificates: bool) -> Result<Self, ClientError> {
        let [http, local_http] = http_clients(needs_certificates)?;
        Ok(Self {
            http,
            local_http,
            courier: Arc::new(Courier::new().map_err(ClientError::Threads)?),
            unlisted: Arc::default(),
        })
    }

    /// A clone that trusts what this machine trusts now.
    ///
    /// # Errors
    ///
    /// HTTPS cannot be prepared.
    pub fn with_certificates(&self) -> Result<Self, ClientError> {
        let [http, local_http] = http_clients(true)?;
        Ok(Self {
            http,
            local_http,
            ..self.clone()
        })
    }

    /// Fetches the calls of one server, with at most `closed_limit` (1 to 100) closed ones.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from being a snapshot, within the API's time-out.
    pub async fn fetch_snapshot(
        &self,
        api: &ApiConfig,
        server_id: u32,
        closed_limit: u32,
    ) -> Result<Snapshot, FetchError> {
        let http = self.http(api);
        let request = match &api.version {
            ApiVersion::V1 { community_id } => v1::request(http, api, community_id, server_id, closed_limit),
            ApiVersion::V2 => v2::request(http, api, server_id, closed_limit),
        };
        let body = self.send(request, api, MOST_BODY_BYTES).await?;
        // Megabytes to parse would hold up every other scrape.
        let version = api.version.clone();
        let snapshot = tokio::task::spawn_blocking(move || read_answer(&body, &version));
        snapshot
            .await
            .unwrap_or_else(|_| Err(FetchError::Other("the answer could not be decoded".to_owned())))
    }

    /// Fetches the ids of the community's servers. Nothing else of that answer is kept, their addresses least of all.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from being such a list, within the API's time-out.
    pub async fn fetch_server_ids(&self, api: &ApiConfig) -> Result<BTreeSet<u32>, FetchError> {
        let http = self.http(api);
        let request = match &api.version {
            ApiVersion::V1 { community_id } => v1::servers_request(http, api, community_id),
            ApiVersion::V2 => v2::servers_request(http, api),
        };
        let body = self.send(request, api, MOST_SERVERS_BYTES).await?;
        wire::decode_server_ids(&body.bytes)
            .map_err(|_| FetchError::InvalidResponse("no list of servers as JSON".to_owned()))
    }

    fn http(&self, api: &ApiConfig) -> &reqwest::Client {
        if api.is_local() { &self.local_http } else { &self.http }
    }

    /// The body of a good answer.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        api: &ApiConfig,
        most_bytes: usize,
    ) -> Result<Body, FetchError> {
        let answer = self.courier.send(request, api.timeout, most_bytes).await?;
        if answer.status.is_success() {
            answer.body
        } else {
            Err(self.read_failure(answer, api))
        }
    }

    /// What an answer with a bad status means: one of the API's strings first, then the status.
    fn read_failure(&self, answer: Answer, api: &ApiConfig) -> FetchError {
        let Answer { status, headers, body } = answer;
        let is_problem = content_type_is_problem(&headers);
        // A body that cannot be read says nothing, but the status does.
        let body = body.map_or_else(|_| Vec::new(), |body| body.bytes);
        let text = api_text(&body);
        if let Some(error) = text.and_then(|text| FetchError::from_text(text, &api.version)) {
            return error;
        }
        match (status, &api.version) {
            (StatusCode::BAD_REQUEST, _) => self.read_unlisted(text, api),
            (StatusCode::UNAUTHORIZED, _) => FetchError::Unauthorized,
            (StatusCode::PAYMENT_REQUIRED, _) => FetchError::PlanRequired,
            (StatusCode::FORBIDDEN, _) => FetchError::Forbidden,
            (StatusCode::NOT_FOUND | StatusCode::GONE, ApiVersion::V1 { .. }) => FetchError::EndpointGone,
            (StatusCode::NOT_FOUND | StatusCode::GONE, ApiVersion::V2) if is_problem => FetchError::UnknownServer,
            (StatusCode::TOO_MANY_REQUESTS, _) => FetchError::RateLimited(Retry::from_headers(&headers)),
            (status, _) if status.is_redirection() => FetchError::Redirected(status.as_u16()),
            (status, _) if status.is_client_error() => FetchError::ClientStatus(status.as_u16()),
            (status, _) if status.is_server_error() => FetchError::ServerStatus(status.as_u16()),
            (status, _) => FetchError::InvalidResponse(format!("status {status}", status = status.as_u16())),
        }
    }

    /// A text of status 400 that is not known in advance; only so many become labels, and none that
    /// echoes the key or the community's id.
    fn read_unlisted(&self, text: Option<&str>, api: &ApiConfig) -> FetchError {
        let status = FetchError::ClientStatus(StatusCode::BAD_REQUEST.as_u16());
        let Some(text) = text.filter(|text| error::is_api_string(text) && !api.is_named_in(text)) else {
            return status;
        };
        let mut unlisted = self.unlisted.lock();
        if let Some(known) = unlisted.get(text) {
            return FetchError::Unlisted(known.clone());
        }
        if unlisted.len() == MOST_UNLISTED {
            return status;
        }
        let text: Arc<str> = text.into();
        unlisted.insert(text.clone());
        FetchError::Unlisted(text)
    }
}

/// For other machines, and for this one, which no proxy can reach.
fn http_clients(needs_certificates: bool) -> Result<[reqwest::Client; 2], ClientError> {
    let build = |builder: reqwest::ClientBuilder| builder.build().map_err(ClientError::Https);
    let builder = || http_builder(needs_certificates);
    Ok([build(builder())?, build(builder().no_proxy())?])
}

/// How every request is made.
fn http_builder(needs_certificates: bool) -> reqwest::ClientBuilder {
    // Fails when another part of the process has chosen a provider, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder();
    // A machine without CA certificates can still ask itself.
    let builder = if needs_certificates {
        builder
    } else {
        builder.tls_certs_only([])
    };
    builder
        .user_agent(format!("sonorancad-exporter/{VERSION}"))
        .default_headers(HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]))
        .redirect(reqwest::redirect::Policy::none())
        // All communities with the same address would share what is kept. A surplus answer that comes late on a
        // connection would be taken for the answer to its next request, which may be another community's.
        .pool_max_idle_per_host(0)
}

/// Reads the body of a good answer.
///
/// # Errors
///
/// [`FetchError::InvalidResponse`]: it is no answer to a request for calls.
pub fn decode_snapshot(body: &[u8]) -> Result<Snapshot, FetchError> {
    wire::decode(body).map_err(|error| {
        // The parser's own message can quote the answer.
        let detail = format!(
            "no list of calls as JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        FetchError::InvalidResponse(detail)
    })
}

fn read_answer(body: &Body, version: &ApiVersion) -> Result<Snapshot, FetchError> {
    decode_snapshot(&body.bytes).map_err(|error| {
        api_text(&body.bytes)
            .and_then(|text| FetchError::from_text(text, version))
            .unwrap_or(error)
    })
}

/// The address of an endpoint below the API's own.
fn endpoint(base: &Url, path: &str) -> Url {
    base.join(path)
        .expect("the base ends in a slash and the path has no scheme")
}

/// A body as one of the API's texts: without a byte order mark, white space around it, and the quotes
/// of a JSON string.
fn api_text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    Some(
        text.strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text),
    )
}

/// Whether the body is an error in the sense of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
fn content_type_is_problem(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        Some(text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase())
    };
    headers.get(CONTENT_TYPE).and_then(essence).as_deref() == Some("application/problem+json")
}
