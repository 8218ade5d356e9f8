//! Fetches a snapshot from the API over HTTP.
//!
//! The key goes to the configured address and nowhere else: redirects are not followed, and no
//! error holds a body, a header or an address. What holds it is wiped when the request is over; the
//! buffers of HTTP and TLS, through which it goes, are not.

mod error;
mod secret;
mod v1;
mod v2;
mod wire;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use url::Url;

use self::error::Phase;
pub use self::error::{FetchError, PauseRequest, Refusal, Retry, labels};
use crate::config::{ApiConfig, ApiVersion};
use crate::process::VERSION;
use crate::snapshot::Snapshot;

/// The largest answer that is read, compressed or not: 100,000 calls are 33 MB.
const MOST_BODY_BYTES: usize = 48 << 20;

/// The largest list of servers that is read.
const MOST_SERVERS_BYTES: usize = 1 << 20;

/// The largest error that is read; whatever is longer is none of the API's own strings.
const MOST_ERROR_BYTES: usize = 4 << 10;

/// At most so many texts that are not known in advance become labels, in the life of a process.
const MOST_UNLISTED: usize = 20;

/// An idle connection is dropped before a server in between (nginx: 75 s) would drop it.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Asks the API; one for the process.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// For addresses of this machine, which no proxy can reach.
    local_http: reqwest::Client,
    unlisted: Mutex<BTreeSet<Arc<str>>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare HTTPS; are this machine's CA certificates installed?")]
pub struct ClientError(#[source] reqwest::Error);

impl Client {
    /// A client that trusts what this machine trusts and honours `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`;
    /// without certificates, only plain HTTP works.
    ///
    /// # Errors
    ///
    /// No CA certificates are found where they are needed, or a proxy's address cannot be read.
    pub fn new(needs_certificates: bool) -> Result<Self, ClientError> {
        // Fails when another part of the process has chosen a provider, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
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
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        };
        Ok(Self {
            http: builder().build().map_err(ClientError)?,
            local_http: builder().no_proxy().build().map_err(ClientError)?,
            unlisted: Mutex::default(),
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
        // Megabytes to inflate and parse would hold up every other scrape.
        let version = api.version.clone();
        let snapshot = tokio::task::spawn_blocking(move || read_answer(body, &version));
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
        let body = self.send(request, api, MOST_SERVERS_BYTES).await?.inflate()?;
        wire::decode_server_ids(&body).map_err(|_| FetchError::InvalidResponse("no list of servers as JSON".to_owned()))
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
        let response = request
            .timeout(api.timeout)
            .send()
            .await
            .map_err(|error| FetchError::from_transport(&error, Phase::Request))?;
        if response.status().is_success() {
            Body::read(response, most_bytes).await
        } else {
            Err(self.read_failure(response, api).await)
        }
    }

    /// What an answer with a bad status means: one of the API's strings first, then the status.
    async fn read_failure(&self, response: Response, api: &ApiConfig) -> FetchError {
        let status = response.status();
        let retry = Retry::from_headers(response.headers());
        let is_problem = content_type_is_problem(response.headers());
        // A body that cannot be read says nothing, but the status does.
        let body = match Body::read(response, MOST_ERROR_BYTES).await {
            Ok(body) => body.inflate().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
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
            (StatusCode::TOO_MANY_REQUESTS, _) => FetchError::RateLimited(retry),
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

fn read_answer(body: Body, version: &ApiVersion) -> Result<Snapshot, FetchError> {
    let body = body.inflate()?;
    decode_snapshot(&body).map_err(|error| {
        api_text(&body)
            .and_then(|text| FetchError::from_text(text, version))
            .unwrap_or(error)
    })
}

/// A body as it came.
struct Body {
    bytes: Vec<u8>,
    is_gzip: bool,
    most_bytes: usize,
}

impl Body {
    /// Reads the whole body, or as much of it as is allowed and one chunk more.
    async fn read(mut response: Response, most_bytes: usize) -> Result<Self, FetchError> {
        let coding = response
            .headers()
            .get(CONTENT_ENCODING)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let is_gzip = match coding.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => false,
            b"gzip" | b"x-gzip" => true,
            _ => return Err(FetchError::InvalidResponse("unknown content encoding".to_owned())),
        };
        let length = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > most_bytes) {
            return Err(FetchError::TooLarge(most_bytes));
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or_default());
        let failed = |error| FetchError::from_transport(&error, Phase::Body);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > most_bytes {
                return Err(FetchError::TooLarge(most_bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self {
            bytes,
            is_gzip,
            most_bytes,
        })
    }

    /// The content, uncompressed.
    fn inflate(self) -> Result<Vec<u8>, FetchError> {
        if !self.is_gzip {
            return Ok(self.bytes);
        }
        let mut content = Vec::new();
        flate2::read::MultiGzDecoder::new(&self.bytes[..])
            .take(self.most_bytes as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|_| FetchError::InvalidResponse("broken gzip".to_owned()))?;
        if content.len() > self.most_bytes {
            return Err(FetchError::TooLarge(self.most_bytes));
        }
        Ok(content)
    }
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
