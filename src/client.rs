//! Fetches snapshots from the API over HTTP.
//!
//! The key goes to the configured address and nowhere else: redirects are not followed, and no error contains more of
//! an answer than an error string in capitals. Every buffer of ours that contains the key is wiped when the request is
//! over. The buffers of HTTP and TLS, through which it passes, are not.
//!
//! No answer takes more than its share of memory (only a few large ones are in memory at once, however many are
//! requested), of time (the API's time-out) or of the processor (the client has threads of its own).

mod body;
mod endpoint;
mod error;
mod secret;
mod transport;
mod v1;
mod v2;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, StatusCode};
use secrecy::ExposeSecret as _;
use url::Url;
use zeroize::Zeroizing;

use self::body::Body;
pub use self::endpoint::{Calls, Endpoint, QueryOf, SnapshotOf, Units};
pub use self::error::{FetchError, KnownError, PauseRequest, Retry, Scope, labels};
pub use self::transport::{MAX_FILES, MAX_REQUESTS, Turn};
use self::transport::{RawResponse, Transport};
pub use self::wire::Pass;
use crate::config::{ApiConfig, ApiVersion, Network, Proxy};
use crate::process::VERSION;
use crate::text;

/// The largest answer that is read, compressed or not: 100,000 calls are 33 MB.
const MAX_BODY_BYTES: usize = 48 << 20;

/// The largest list of servers that is read.
const MAX_SERVERS_BYTES: usize = 1 << 20;

/// How many texts that are not known in advance become labels at most, in the life of a process.
const MAX_UNKNOWN_TEXTS: usize = 20;

/// Sends requests to the API. Clones share all of it; a process has one set of threads and limits.
#[derive(Clone, Debug)]
pub struct Client {
    http: Arc<RwLock<HttpClients>>,
    transport: Arc<Transport>,
    unknown_texts: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// What sends requests, by the way that they take.
#[derive(Debug)]
struct HttpClients {
    network: Network,
    has_certificates: bool,
    direct: reqwest::Client,
    through: Vec<(Proxy, reqwest::Client)>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No CA certificates are found although they are needed.
    #[error("cannot prepare HTTPS; are this machine's CA certificates installed? SSL_CERT_FILE can name others")]
    Https(#[source] reqwest::Error),
    /// The system refuses to start its threads.
    #[error("cannot start the threads that talk to the API")]
    Threads(#[source] io::Error),
}

impl Client {
    /// A client that trusts what this machine trusts, and uses no proxy. Without certificates, only plain HTTP works.
    ///
    /// # Errors
    ///
    /// HTTPS cannot be prepared, or the system refuses to start its threads.
    pub fn new(needs_certificates: bool) -> Result<Self, ClientError> {
        Ok(Self {
            http: Arc::new(RwLock::new(HttpClients::new(&Network::default(), needs_certificates)?)),
            transport: Arc::new(Transport::new().map_err(ClientError::Threads)?),
            unknown_texts: Arc::default(),
        })
    }

    /// From now on, requests of all clones take this network. Certificates that were there once stay, even where they
    /// are needed no longer.
    ///
    /// # Errors
    ///
    /// HTTPS cannot be prepared. Nothing has changed then.
    pub fn set_network(&self, network: &Network, needs_certificates: bool) -> Result<(), ClientError> {
        let has_certificates = {
            let current = self.http.read();
            let has_certificates = current.has_certificates || needs_certificates;
            if current.network == *network && current.has_certificates == has_certificates {
                return Ok(());
            }
            has_certificates
        };
        let clients = HttpClients::new(network, has_certificates)?;
        *self.http.write() = clients;
        Ok(())
    }

    /// Waits for the turn of one request: only so many are in progress at once, for all communities. `None` after 30 s.
    pub async fn turn(&self) -> Option<Turn> {
        self.transport.turn().await
    }

    /// Fetches the answer of an endpoint for one server, in a version of the API that may be used.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from being a snapshot, within the API's time-out.
    pub async fn fetch_snapshot<E: Endpoint>(
        &self,
        api: &ApiConfig,
        version: ApiVersion,
        server_id: u32,
        query: QueryOf<E>,
        turn: Turn,
    ) -> Result<SnapshotOf<E>, FetchError> {
        let snapshot = self.request_snapshot::<E>(api, version, server_id, query, turn).await;
        snapshot.map_err(|error| advise(error, api, version))
    }

    async fn request_snapshot<E: Endpoint>(
        &self,
        api: &ApiConfig,
        version: ApiVersion,
        server_id: u32,
        query: QueryOf<E>,
        turn: Turn,
    ) -> Result<SnapshotOf<E>, FetchError> {
        let (http, proxy) = self.http.read().route(api);
        let request = match version {
            ApiVersion::V1 => E::v1_request(&http, api, server_id, query),
            ApiVersion::V2 => E::v2_request(&http, api, server_id, query),
        };
        let body = self.send(turn, request, api, version, proxy, MAX_BODY_BYTES).await?;
        // Parsing megabytes would delay every other scrape.
        let labels = api.labels.clone();
        let snapshot = tokio::task::spawn_blocking(move || {
            let error_text = || api_text(&body.bytes).and_then(|text| text_failure(text, version));
            // The API reports some errors with status 200.
            E::decode(&body.bytes, &labels).map_err(|error| error_text().unwrap_or(error))
        });
        snapshot
            .await
            .unwrap_or_else(|_| Err(FetchError::Other("the answer could not be decoded".to_owned())))
    }

    /// Fetches the ids of the community's servers, with their names. Nothing else of that answer is kept, above all no
    /// addresses.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from being such a list, within the API's time-out.
    pub async fn fetch_servers(
        &self,
        api: &ApiConfig,
        version: ApiVersion,
    ) -> Result<BTreeMap<u32, Option<String>>, FetchError> {
        let (http, proxy) = self.http.read().route(api);
        let request = match version {
            ApiVersion::V1 => v1::servers_request(&http, api),
            ApiVersion::V2 => v2::servers_request(&http, api),
        };
        let turn = self.turn().await.ok_or(FetchError::Timeout)?;
        let body = self.send(turn, request, api, version, proxy, MAX_SERVERS_BYTES).await?;
        wire::decode_servers(&body.bytes)
            .map_err(|_| FetchError::InvalidResponse("not JSON with a list of servers".to_owned()))
    }

    /// The body of a successful response.
    async fn send(
        &self,
        turn: Turn,
        request: reqwest::RequestBuilder,
        api: &ApiConfig,
        version: ApiVersion,
        proxy: Option<Arc<str>>,
        max_bytes: usize,
    ) -> Result<Body, FetchError> {
        let response = self.transport.send(turn, request, api.timeout, max_bytes).await;
        let outcome = response.and_then(|response| {
            if response.status.is_success() {
                response.body
            } else {
                Err(self.read_failure(response, api, version))
            }
        });
        outcome.map_err(|error| explain(error, api, proxy))
    }

    /// What a response with a bad status means: one of the API's strings first, then the status.
    fn read_failure(&self, response: RawResponse, api: &ApiConfig, version: ApiVersion) -> FetchError {
        let RawResponse { status, headers, body } = response;
        // The status still tells something if the body cannot be read.
        let body = body.map_or_else(|_| Vec::new(), |body| body.bytes);
        let text = api_text(&body);
        if let Some(error) = text.and_then(|text| text_failure(text, version)) {
            return error;
        }
        if status == StatusCode::BAD_REQUEST {
            return self.read_unknown(text, api);
        }
        let of_version = match version {
            ApiVersion::V1 => v1::status_failure(status),
            ApiVersion::V2 => v2::status_failure(status, &headers),
        };
        of_version.unwrap_or_else(|| FetchError::from_status(status, &headers))
    }

    /// A text of status 400 that is not known in advance. Only a few become labels, and none that echoes the key or
    /// the community's id.
    fn read_unknown(&self, text: Option<&str>, api: &ApiConfig) -> FetchError {
        let status = FetchError::ClientStatus(StatusCode::BAD_REQUEST.as_u16());
        let Some(text) = text.filter(|text| error::is_api_string(text) && !is_echo(text, api)) else {
            return status;
        };
        let mut unknown_texts = self.unknown_texts.lock();
        if let Some(text) = unknown_texts.get(text) {
            return FetchError::Unknown(text.clone());
        }
        if unknown_texts.len() == MAX_UNKNOWN_TEXTS {
            return status;
        }
        let text: Arc<str> = text.into();
        unknown_texts.insert(text.clone());
        FetchError::Unknown(text)
    }
}

/// The failure that one of the API's own texts means, at any status.
fn text_failure(text: &str, version: ApiVersion) -> Option<FetchError> {
    let of_version = match version {
        ApiVersion::V1 => v1::text_failure(text),
        ApiVersion::V2 => None,
    };
    of_version.or_else(|| FetchError::from_text(text))
}

/// Whether `text`, which is in capitals, contains the key (even with spaces in it) or the community's id as a word,
/// whatever their own case.
fn is_echo(text: &str, api: &ApiConfig) -> bool {
    let community_id = api.version.community_id().to_ascii_uppercase();
    let names_community = !community_id.is_empty() && format!(" {text} ").contains(&format!(" {community_id} "));
    // An upper-case copy of the key would not be wiped, so the comparison ignores case instead. The copy of the text
    // is wiped.
    let key = api.key.expose_secret().as_bytes();
    let mut without_spaces = Zeroizing::new(Vec::with_capacity(text.len()));
    without_spaces.extend(text.bytes().filter(|byte| *byte != b' '));
    names_community
        || without_spaces
            .windows(key.len())
            .any(|part| part.eq_ignore_ascii_case(key))
}

/// Adds what is known of the way that the request took.
fn explain(error: FetchError, api: &ApiConfig, proxy: Option<Arc<str>>) -> FetchError {
    match proxy {
        // In TLS, a status comes from the API itself; in plain HTTP, it can be the proxy's.
        Some(proxy) if error.is_of_transport() || api.url.scheme() == "http" => error.through(proxy),
        Some(_) => error,
        None => error.with_host(api.url.host_str().unwrap_or_default()),
    }
}

/// Gives advice that fits what is odd about the configuration: "copy the key again" does not help if it is a placeholder.
fn advise(error: FetchError, api: &ApiConfig, version: ApiVersion) -> FetchError {
    if error.is_about_address() && api.url.path() != "/" {
        return error.with_advice(
            "SONORANCAD_API_URL contains a path, and the API is perhaps not below it: set only the scheme and the host, as \
             in https://api.sonorancad.com",
        );
    }
    if version == ApiVersion::V2 && error.is_about_plan() {
        return error.with_advice("check which plan the community has: it is too low for this part of the API");
    }
    match api.doubt_about_key() {
        Some(advice) if error.is_about_key() => error.with_advice(advice),
        _ => error,
    }
}

impl HttpClients {
    fn new(network: &Network, has_certificates: bool) -> Result<Self, ClientError> {
        // The variables for proxies are read by `config`: reqwest would ignore those that it cannot read.
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(ClientError::Https);
        let builder = || http_builder(network, has_certificates).map_err(ClientError::Https);
        let through = network.proxies().map(|proxy| {
            let all = reqwest::Proxy::all(proxy.url().clone()).map_err(ClientError::Https)?;
            Ok((proxy.clone(), build(builder()?.proxy(all))?))
        });
        Ok(Self {
            network: network.clone(),
            has_certificates,
            through: through.collect::<Result<_, _>>()?,
            direct: build(builder()?)?,
        })
    }

    /// What sends requests to this API, and the address of the proxy that they go through.
    fn route(&self, api: &ApiConfig) -> (reqwest::Client, Option<Arc<str>>) {
        let Some(proxy) = self.network.proxy_for(&api.url) else {
            return (self.direct.clone(), None);
        };
        let mut through = self.through.iter();
        let (_, http) = through
            .find(|(other, _)| other == proxy)
            .expect("each proxy of the network has a client");
        (http.clone(), Some(proxy.to_string().into()))
    }
}

/// The settings that all requests share; without a proxy.
fn http_builder(network: &Network, has_certificates: bool) -> reqwest::Result<reqwest::ClientBuilder> {
    // Fails if another part of the process has chosen a provider, which works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match &network.authorities {
        // A machine without CA certificates can still talk to itself.
        _ if !has_certificates => builder.tls_certs_only([]),
        Some(authorities) => {
            let certificates = authorities.iter().map(|der| Certificate::from_der(der));
            builder.tls_certs_only(certificates.collect::<reqwest::Result<Vec<_>>>()?)
        }
        None => builder,
    };
    Ok(builder
        .user_agent(format!("sonorancad-exporter/{VERSION}"))
        .default_headers(HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]))
        .redirect(reqwest::redirect::Policy::none())
        // Communities with the same address would share idle connections. A surplus answer that arrives late on one
        // would be taken for the answer to its next request, which may be another community's.
        .pool_max_idle_per_host(0))
}

/// An address below the API's own.
fn address(base: &Url, path: &str) -> Url {
    base.join(path)
        .expect("the base ends in a slash and the path has no scheme")
}

/// A body as one of the API's texts: without a byte order mark, surrounding white space, and the quotes of a JSON
/// string.
fn api_text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text::without_mark(body)).ok()?.trim();
    Some(
        text.strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text),
    )
}
