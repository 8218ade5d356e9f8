//! Why a fetch failed: its label, its advice to a person, and the pause it asks for.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::account::{MAX_PAUSE, MIN_PAUSE};
use crate::clock::Now;

/// The pause after a failure that only a person can fix: the vendor keeps a blacklist of communities whose requests
/// fail.
const LONG_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How long a rate limit lasts if the API does not say.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60);

/// A number above this is a Unix time in seconds (2001 and later), not a number of seconds to wait.
const MIN_UNIX_TIME: f64 = 1e9;

/// A number above this is a Unix time in milliseconds (1973 and later).
const MIN_UNIX_MILLIS: f64 = 1e11;
const INVALID_KEY: &str = "INVALID API KEY";
const INVALID_TYPE: &str = "INVALID REQUEST TYPE";
const PLAN_TEXTS: [&str; 2] = ["VERSION PLUS REQUIRED", "VERSION PRO REQUIRED"];

/// How the system's library begins when a name cannot be looked up.
const LOOKUP_FAILURE: &str = "failed to lookup address information";

/// What to do about a key that is refused.
const COPY_KEY: &str = "copy the key again from the CAD, under Admin > Advanced > In-Game Integration > Web API";

/// An error string that the API is known to send, what it concerns, and what to do about it.
#[derive(Debug)]
pub struct KnownError {
    text: &'static str,
    scope: Scope,
    advice: &'static str,
}

/// Every error string that is documented or known from the vendor's clients.
static KNOWN_ERRORS: [KnownError; 7] = [
    KnownError {
        text: "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY",
        scope: Scope::Endpoint,
        advice: "enable this endpoint for the community, in the CAD under Admin > Advanced > In-Game Integration > Web API",
    },
    KnownError {
        text: "API IS NOT ENABLED FOR THIS COMMUNITY",
        scope: Scope::Account,
        advice: "enable the API for the community, in the CAD under Admin > Advanced > In-Game Integration > Web API",
    },
    KnownError {
        text: INVALID_KEY,
        scope: Scope::Account,
        advice: COPY_KEY,
    },
    KnownError {
        text: "INVALID COMMUNITY ID",
        scope: Scope::Account,
        advice: "check SONORANCAD_COMMUNITY_ID: it is the community's id, not its name",
    },
    KnownError {
        text: INVALID_TYPE,
        scope: Scope::Endpoint,
        advice: "check SONORANCAD_API_URL, or try SONORANCAD_API_VERSION=v2",
    },
    KnownError {
        text: PLAN_TEXTS[0],
        scope: Scope::Account,
        advice: "this API needs the Plus plan; try SONORANCAD_API_VERSION=v2, which is open to every plan",
    },
    KnownError {
        text: PLAN_TEXTS[1],
        scope: Scope::Account,
        advice: "this API needs the Pro plan; try SONORANCAD_API_VERSION=v2, which is open to every plan",
    },
];

/// The labels of all other failures.
const FIXED_LABELS: &[&str] = &[
    "CONNECT",
    "ENDPOINT GONE",
    "FORBIDDEN",
    "HTTP 4XX",
    "HTTP 5XX",
    "INVALID RESPONSE",
    "OTHER",
    "PLAN REQUIRED",
    "RATE LIMITED",
    "REDIRECTED",
    "RESPONSE TOO LARGE",
    "TIMEOUT",
    "TLS",
    "UNAUTHORIZED",
    "UNKNOWN SERVER",
];

/// Why a fetch failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The API sent one of its known strings.
    #[error("the API says {}", .0.text)]
    Known(&'static KnownError),
    /// The API sent a text that looks like one of its strings, with status 400.
    #[error("the API says {0}")]
    Unknown(Arc<str>),
    /// The endpoint is retired (v1).
    #[error("the endpoint is gone")]
    EndpointGone,
    /// Status 401: the key.
    #[error("the API does not accept the key (status 401)")]
    Unauthorized,
    /// Status 402: the plan.
    #[error("the API asks for another plan (status 402)")]
    PlanRequired,
    /// Status 403: the key's rights, or a gateway.
    #[error("the API forbids the request (status 403)")]
    Forbidden,
    /// The API does not know this server id (v2).
    #[error("the API does not know this server id")]
    UnknownServer,
    /// Status 429.
    #[error("the API's rate limit is reached")]
    RateLimited(Retry),
    /// Status 3xx; never followed, since the key would travel.
    #[error("the API redirects to another address (status {0})")]
    Redirected(u16),
    /// Any other status 4xx.
    #[error("the API refuses the request (status {0})")]
    ClientStatus(u16),
    /// Status 5xx, and when a 503 says that the trouble ends.
    #[error("the API is in trouble (status {0})")]
    ServerStatus(u16, Option<Retry>),
    /// No whole answer within `SONORANCAD_API_TIMEOUT`.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it was reset.
    #[error("cannot reach the API: {0}")]
    Connect(String),
    /// No trusted connection: a fixed text, since errors of TLS quote names of hosts and certificates.
    #[error("no trusted connection to the API: {0}")]
    Tls(&'static str),
    /// An answer that cannot be parsed.
    #[error("the answer cannot be read: {0}")]
    InvalidResponse(String),
    /// An answer over the limit.
    #[error("the answer is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
    /// A failure with advice that fits this configuration better.
    #[error("{error}")]
    Advised {
        /// The failure itself.
        error: Box<FetchError>,
        /// What a person can do about it.
        advice: &'static str,
    },
    /// A failure of any kind on the way through a proxy, with its host and port.
    #[error("{error} (through the proxy {proxy})")]
    Proxied {
        /// The failure itself.
        error: Box<FetchError>,
        /// Host and port.
        proxy: Arc<str>,
    },
    /// Version v1 of the API refuses, and version v2 has failed as well.
    #[error("{v1}; version v2 of the API failed as well: {v2}")]
    BothVersions {
        /// What version v1 said.
        v1: Box<FetchError>,
        /// What version v2 said.
        v2: Box<FetchError>,
    },
    /// A bug in this program.
    #[error("the fetch broke off: {0}")]
    Other(String),
}

/// When to ask again, as the API states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// This long after the answer.
    After(Duration),
    /// At this Unix time.
    At(Duration),
}

/// The pause that a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseRequest {
    /// Ask this server again later, less and less often while it fails, and not before this long after the answer.
    BackOff(Duration),
    /// Send no request within this scope for this long.
    For(Scope, Duration),
}

/// What a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This endpoint of this server.
    Server,
    /// This endpoint of every server that is read with the same key.
    Endpoint,
    /// Everything that is read with the same key.
    Account,
}

/// Every label known in advance, in alphabetical order of each kind.
pub fn labels() -> impl Iterator<Item = &'static str> {
    KNOWN_ERRORS
        .iter()
        .map(|known| known.text)
        .chain(FIXED_LABELS.iter().copied())
}

impl FetchError {
    /// The failure that one of the API's own texts means in both versions, at any status.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        KNOWN_ERRORS.iter().find(|known| known.text == text).map(Self::Known)
    }

    /// The failure that a status other than 2xx means in both versions.
    pub(super) fn from_status(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::PAYMENT_REQUIRED => Self::PlanRequired,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited(Retry::from_headers(headers)),
            status if status.is_redirection() => Self::Redirected(status.as_u16()),
            status if status.is_client_error() => Self::ClientStatus(status.as_u16()),
            StatusCode::SERVICE_UNAVAILABLE => Self::ServerStatus(status.as_u16(), Retry::after(headers)),
            status if status.is_server_error() => Self::ServerStatus(status.as_u16(), None),
            status => Self::InvalidResponse(format!("status {status}", status = status.as_u16())),
        }
    }

    /// The failure that a request or the reading of its answer ended in.
    pub(super) fn from_transport(error: &reqwest::Error, phase: Phase) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let detail = || printable(&causes(error).last().map(ToString::to_string).unwrap_or_default());
        if let Some(error) = causes(error).find_map(<dyn Error>::downcast_ref::<rustls::Error>) {
            return Self::Tls(tls_reason(error));
        }
        let is_reset = causes(error)
            .filter_map(<dyn Error>::downcast_ref::<io::Error>)
            .any(|error| error.kind() == io::ErrorKind::ConnectionReset);
        match phase {
            Phase::Request => Self::Connect(detail()),
            Phase::Body if is_reset => Self::Connect(detail()),
            Phase::Body => Self::InvalidResponse(detail()),
        }
    }

    /// Whether the request or its answer got lost on the way.
    pub(super) fn is_of_transport(&self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Connect(_) | Self::Tls(_) | Self::InvalidResponse(_)
        )
    }

    /// Whether the API says that the key is wrong.
    pub(super) fn is_about_key(&self) -> bool {
        match self {
            Self::Unauthorized => true,
            Self::Known(known) => known.text == INVALID_KEY,
            _ => false,
        }
    }

    /// Whether the API asks for a higher plan.
    pub(super) fn is_about_plan(&self) -> bool {
        matches!(self, Self::Known(known) if PLAN_TEXTS.contains(&known.text))
    }

    /// Whether version v1 says that it is gone, or that the community's plan is too low for it. Version v2 may answer then.
    #[must_use]
    pub fn refuses_v1(&self) -> bool {
        match self {
            Self::EndpointGone => true,
            Self::Advised { error, .. } | Self::Proxied { error, .. } => error.refuses_v1(),
            error => error.is_about_plan(),
        }
    }

    /// The failure of both versions: this one is that of version v1.
    #[must_use]
    pub fn and_v2(self, v2: Self) -> Self {
        Self::BothVersions {
            v1: Box::new(self),
            v2: Box::new(v2),
        }
    }

    /// Whether something answered, but not the endpoint that was asked for.
    pub(super) fn is_about_address(&self) -> bool {
        match self {
            Self::EndpointGone | Self::Redirected(_) | Self::ClientStatus(_) | Self::InvalidResponse(_) => true,
            Self::Known(known) => known.text == INVALID_TYPE,
            _ => false,
        }
    }

    /// The same with other advice.
    pub(super) fn with_advice(self, advice: &'static str) -> Self {
        Self::Advised {
            error: Box::new(self),
            advice,
        }
    }

    /// The same with the proxy that the request went through.
    pub(super) fn through(self, proxy: Arc<str>) -> Self {
        Self::Proxied {
            error: Box::new(self),
            proxy,
        }
    }

    /// The same with the name of the host where it could not be looked up.
    pub(super) fn with_host(self, host: &str) -> Self {
        match self {
            Self::Connect(detail) => match detail.strip_prefix(LOOKUP_FAILURE) {
                Some(reason) => Self::Connect(format!("the name {host} cannot be looked up{reason}")),
                None => Self::Connect(detail),
            },
            error => error,
        }
    }

    /// The value of the label `error`.
    #[must_use]
    pub fn label(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Known(known) => known.text,
            Self::Unknown(text) => return Cow::Owned(text.to_string()),
            Self::EndpointGone => "ENDPOINT GONE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::PlanRequired => "PLAN REQUIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::UnknownServer => "UNKNOWN SERVER",
            Self::RateLimited(_) => "RATE LIMITED",
            Self::Redirected(_) => "REDIRECTED",
            Self::ClientStatus(_) => "HTTP 4XX",
            Self::ServerStatus(..) => "HTTP 5XX",
            Self::Timeout => "TIMEOUT",
            Self::Connect(_) => "CONNECT",
            Self::Tls(_) => "TLS",
            Self::InvalidResponse(_) => "INVALID RESPONSE",
            Self::TooLarge(_) => "RESPONSE TOO LARGE",
            Self::Advised { error, .. } | Self::Proxied { error, .. } | Self::BothVersions { v1: error, .. } => {
                return error.label();
            }
            Self::Other(_) => "OTHER",
        })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Known(known) => known.advice,
            Self::Unknown(_) => "look the text up in the API's documentation",
            Self::EndpointGone => "this endpoint seems to be gone: try SONORANCAD_API_VERSION=v2",
            Self::Unauthorized => COPY_KEY,
            Self::PlanRequired => "check which plan the community has",
            Self::Forbidden => "check the key and the plan; a firewall before the API can be the cause too",
            Self::UnknownServer => "check SONORANCAD_SERVER_IDS against the servers in the CAD",
            Self::RateLimited(_) => {
                "wait; if it returns, something else spends this key's limit: run one exporter per key, \
                 or lower SONORANCAD_REQUESTS_PER_MINUTE"
            }
            Self::Redirected(_) => "check SONORANCAD_API_URL: redirects are not followed, since the key would travel",
            Self::ClientStatus(_) => "check SONORANCAD_API_URL and SONORANCAD_API_VERSION",
            Self::ServerStatus(..) => "wait: the trouble is on the API's side",
            Self::Timeout => "wait, or raise SONORANCAD_API_TIMEOUT",
            Self::Connect(_) => "check the network, DNS, a firewall, and SONORANCAD_API_URL",
            Self::Tls(_) => "check SONORANCAD_API_URL, this machine's clock and its CA certificates",
            Self::InvalidResponse(_) => "check SONORANCAD_API_URL; if it is right, the trouble is on the API's side",
            Self::TooLarge(_) => "delete closed calls in the CAD, or check SONORANCAD_API_URL",
            Self::Advised { advice, .. } => advice,
            Self::BothVersions { v2, .. } => v2.advice(),
            Self::Proxied { error, .. } => match **error {
                Self::Connect(_) => {
                    "check the proxy in HTTPS_PROXY or ALL_PROXY, its user and password, and whether it lets requests to \
                     the API through"
                }
                Self::Tls(_) => {
                    "check this machine's clock; a proxy that reads TLS needs its CA certificate in SSL_CERT_FILE"
                }
                Self::Timeout => "wait, check the proxy, or raise SONORANCAD_API_TIMEOUT",
                Self::ClientStatus(407) => "check the user and the password of the proxy",
                ref error => error.advice(),
            },
            Self::Other(_) => "please report this fault of the exporter",
        }
    }

    /// The pause it asks for, seen from `now`, the moment of the answer.
    #[must_use]
    pub fn pause(&self, now: Now) -> PauseRequest {
        match self {
            Self::Known(known) => PauseRequest::For(known.scope, LONG_PAUSE),
            Self::EndpointGone => PauseRequest::For(Scope::Endpoint, LONG_PAUSE),
            Self::Unauthorized | Self::PlanRequired | Self::Forbidden => PauseRequest::For(Scope::Account, LONG_PAUSE),
            // A text that is not known in advance may concern this server alone.
            // Another server may have an answer of version v2 at this moment, and so take the account over to it.
            Self::UnknownServer | Self::Unknown(_) | Self::BothVersions { .. } => {
                PauseRequest::For(Scope::Server, LONG_PAUSE)
            }
            Self::RateLimited(retry) => PauseRequest::For(Scope::Endpoint, retry.pause(now)),
            Self::ServerStatus(_, Some(retry)) => PauseRequest::BackOff(retry.pause(now)),
            Self::Advised { error, .. } | Self::Proxied { error, .. } => error.pause(now),
            Self::Redirected(_)
            | Self::ClientStatus(_)
            | Self::ServerStatus(_, None)
            | Self::Timeout
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::InvalidResponse(_)
            | Self::TooLarge(_)
            | Self::Other(_) => PauseRequest::BackOff(Duration::ZERO),
        }
    }
}

/// How far a request got.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Request,
    Body,
}

impl Retry {
    /// Reads the first header that states when a rate limit ends: `Retry-After`, `RateLimit-Reset` or
    /// `X-RateLimit-Reset`. If no header can be read, it ends 60 s after the answer.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        ["retry-after", "ratelimit-reset", "x-ratelimit-reset"]
            .into_iter()
            .find_map(|name| Self::from_header(headers, name))
            .unwrap_or(Self::After(RATE_LIMIT_PAUSE))
    }

    /// What `Retry-After` says ([RFC 9110, section 10.2.3]); `None` if it is missing or cannot be read.
    ///
    /// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    fn after(headers: &HeaderMap) -> Option<Self> {
        Self::from_header(headers, "retry-after")
    }

    /// Reads a number of seconds, an HTTP date, or a Unix time in seconds or milliseconds.
    ///
    /// Only `Retry-After` is standardised, and none of them says its unit, so one rule applies to all.
    fn from_header(headers: &HeaderMap, name: &str) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let value = text(name)?;
        let time = match value.parse::<f64>() {
            Ok(number) if number.is_nan() => return None,
            Ok(millis) if millis > MIN_UNIX_MILLIS => saturating(millis / 1000.0),
            Ok(seconds) if seconds > MIN_UNIX_TIME => saturating(seconds),
            Ok(seconds) => return Some(Self::After(saturating(seconds))),
            Err(_) => unix_time(value)?,
        };
        // Where the answer is dated, this machine's clock does not matter, which may be wrong.
        Some(match text("date").and_then(unix_time) {
            Some(date) => Self::After(time.saturating_sub(date)),
            None => Self::At(time),
        })
    }

    /// The pause from `now`, the moment of the answer: within [`MIN_PAUSE`] and [`MAX_PAUSE`], also for a time in the
    /// past.
    fn pause(self, now: Now) -> Duration {
        let delay = match self {
            Self::After(duration) => duration,
            Self::At(unix) => unix.saturating_sub(now.unix),
        };
        delay.clamp(MIN_PAUSE, MAX_PAUSE)
    }
}

/// An error and all that caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its `source` skips the error that it wraps.
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// What an error of TLS means.
fn tls_reason(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    match error {
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet"
        }
        Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        Error::InvalidCertificate(Certificate::UnknownIssuer) => "its certificate is of an unknown authority",
        Error::InvalidCertificate(Certificate::Revoked) => "its certificate has been revoked",
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => "it has no certificate that can be used",
        Error::InvalidMessage(_) => "what it sends is not TLS",
        Error::PeerIncompatible(_) => "it shares no version or cipher suite of TLS",
        Error::AlertReceived(_) => "it has refused the handshake",
        _ => "the handshake has failed",
    }
}

/// Reads an HTTP date.
fn unix_time(text: &str) -> Option<Duration> {
    let time = httpdate::parse_http_date(text).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A duration of this many seconds; zero for a negative number, the maximum for one that is too large.
fn saturating(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// A foreign text, safe to log: one short line.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// Whether `text` looks like one of the API's own strings: capital letters and single spaces, 3 to
/// 64 characters, and not the name of another failure.
pub(super) fn is_api_string(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text
            .split(' ')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        && !FIXED_LABELS.contains(&text)
}

#[cfg(test)]
mod tests;
