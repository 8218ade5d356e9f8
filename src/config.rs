//! What the user wants: read once, checked as a whole, every problem reported together.
//!
//! The environment and the flags become one list of [`Setting`]s; [`Config::read`] turns that list
//! into what the program means, or into [`Problems`]. No message ever shows a setting's text, so a
//! secret in the wrong variable is not printed either.

mod value;
mod variable;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use url::Url;

use self::variable::{Name, PREFIX};
pub use self::variable::{VARIABLES, Variable, help};

/// The API's limit of call requests per minute and key (version v2).
const API_LIMIT_PER_MINUTE: u32 = 5;

/// Everything the program was told.
#[derive(Debug)]
pub struct Config {
    /// Whose calls are read, and how.
    pub community: CommunityConfig,
    /// Where metrics are served.
    pub listen_addresses: Vec<SocketAddr>,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// One community: its API, its servers, and how often they are asked.
#[derive(Clone, Debug)]
pub struct CommunityConfig {
    /// Where and as whom the API is asked.
    pub api: ApiConfig,
    /// The servers to read: at least one, no id twice.
    pub servers: Vec<ServerConfig>,
    /// `SONORANCAD_REQUESTS_PER_MINUTE`: the budget that all servers share.
    pub requests_per_minute: u32,
    /// `SONORANCAD_CACHE_TTL`, as asked for.
    pub cache_ttl: Duration,
    /// `SONORANCAD_MAX_STALE`, as asked for.
    pub max_stale: Duration,
}

/// Where and as whom the API is asked.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `SONORANCAD_API_URL`; its path ends in a slash.
    pub url: Url,
    /// `SONORANCAD_API_VERSION`, with what only that version needs.
    pub version: ApiVersion,
    /// `SONORANCAD_API_KEY`, or the content of `SONORANCAD_API_KEY_FILE`.
    pub key: SecretString,
    /// `SONORANCAD_API_TIMEOUT`: the longest wait for one whole answer.
    pub timeout: Duration,
}

/// The version of the API.
#[derive(Clone, Debug)]
pub enum ApiVersion {
    /// The documented `GET_CALLS`.
    V1 {
        /// `SONORANCAD_COMMUNITY_ID`.
        community_id: String,
    },
    /// The version announced in April 2026; the key alone names the community.
    V2,
}

/// One CAD server of the community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The CAD's number of the server.
    pub id: u32,
    /// What the user calls it.
    pub name: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `SONORANCAD_LOG`.
    pub filter: Targets,
    /// `SONORANCAD_LOG_FORMAT`.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A name, its text, and where both come from.
pub struct Setting {
    name: String,
    text: OsString,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Environment,
    Flag(&'static str),
}

/// Everything that is wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong: which setting, why, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    name: String,
    reason: String,
    example: Option<&'static str>,
}

/// The settings as envy reads them: texts, all optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    community_id: Option<String>,
    api_key: Option<SecretString>,
    api_key_file: Option<String>,
    server_ids: Option<String>,
    api_version: Option<String>,
    api_url: Option<String>,
    api_timeout: Option<String>,
    cache_ttl: Option<String>,
    max_stale: Option<String>,
    requests_per_minute: Option<String>,
    allow_http: Option<String>,
    listen_address: Option<String>,
    log: Option<String>,
    log_format: Option<String>,
}

impl Config {
    /// Reads the settings, the key's file included.
    ///
    /// A later setting of the same name wins, so flags go behind the environment.
    ///
    /// # Errors
    ///
    /// All problems of all settings.
    pub fn read(settings: impl IntoIterator<Item = Setting>) -> Result<Self, Problems> {
        let mut problems = Problems(Vec::new());
        let texts = gather(settings, &mut problems);
        let community = read_community(&texts, &mut problems);
        let listen_addresses = problems.read(
            &variable::LISTEN_ADDRESS,
            texts.listen_address.as_deref(),
            value::listen_addresses,
        );
        let filter = problems.read(&variable::LOG, texts.log.as_deref(), value::log_filter);
        let format = problems.read(&variable::LOG_FORMAT, texts.log_format.as_deref(), value::log_format);
        match (community, listen_addresses, filter, format) {
            (Some(community), Some(listen_addresses), Some(filter), Some(format)) if problems.0.is_empty() => {
                Ok(Self {
                    community,
                    listen_addresses,
                    log: LogConfig { filter, format },
                })
            }
            _ => Err(problems),
        }
    }
}

/// Where a running exporter with these settings listens; what else is set does not matter.
///
/// # Errors
///
/// The problem of `SONORANCAD_LISTEN_ADDRESS`.
pub fn read_listen_addresses(settings: impl IntoIterator<Item = Setting>) -> Result<Vec<SocketAddr>, Problems> {
    let texts = gather(settings, &mut Problems(Vec::new()));
    let mut problems = Problems(Vec::new());
    problems
        .read(
            &variable::LISTEN_ADDRESS,
            texts.listen_address.as_deref(),
            value::listen_addresses,
        )
        .ok_or(problems)
}

impl CommunityConfig {
    /// The TTL in force: the one asked for, or longer where the budget cannot refresh every server
    /// that often.
    #[must_use]
    pub fn ttl_in_force(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        self.cache_ttl
            .max(Duration::from_secs(60) * servers / self.requests_per_minute)
    }

    /// How old call data may get before it is left out.
    #[must_use]
    pub fn stale_bound(&self) -> Duration {
        self.max_stale.max(2 * self.ttl_in_force())
    }

    /// What is allowed but may surprise, as sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let mut warnings = Vec::new();
        if servers >= API_LIMIT_PER_MINUTE {
            warnings.push(format!(
                "{servers} servers leave nothing of the API's limit of {API_LIMIT_PER_MINUTE} requests per minute and key: \
                 each game server takes one per minute, and the exporter takes {} more",
                self.requests_per_minute
            ));
        } else if servers + self.requests_per_minute > API_LIMIT_PER_MINUTE
            && matches!(self.api.version, ApiVersion::V2)
        {
            warnings.push(format!(
                "{} requests per minute and one for each game server exceed the API's limit of {API_LIMIT_PER_MINUTE} per minute and key",
                self.requests_per_minute
            ));
        }
        warnings
    }
}

impl ApiConfig {
    /// Whether the API is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        value::is_loopback(&self.url)
    }

    /// Whether `text`, which is in capitals, holds the key, or the community's id as a word, whatever
    /// their own case.
    #[must_use]
    pub fn is_named_in(&self, text: &str) -> bool {
        let names_community = match &self.version {
            ApiVersion::V1 { community_id } => {
                format!(" {text} ").contains(&format!(" {} ", community_id.to_ascii_uppercase()))
            }
            ApiVersion::V2 => false,
        };
        names_community || text.contains(&self.key.expose_secret().to_ascii_uppercase())
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 { .. } => "v1",
            Self::V2 => "v2",
        })
    }
}

impl Setting {
    /// The settings among `variables`, as [`std::env::vars_os`] gives them: those with our prefix.
    pub fn from_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<Self> {
        variables
            .into_iter()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, text)| Self {
                name,
                text,
                source: Source::Environment,
            })
            .collect()
    }

    /// The setting that the flag `--web.listen-address` makes, given any number of times.
    #[must_use]
    pub fn from_listen_flags(addresses: &[String]) -> Option<Self> {
        (!addresses.is_empty()).then(|| Self {
            name: variable::LISTEN_ADDRESS.name(),
            text: addresses.join(",").into(),
            source: Source::Flag("--web.listen-address"),
        })
    }
}

/// Drops empty texts, checks the names, and reads what is left.
fn gather(settings: impl IntoIterator<Item = Setting>, problems: &mut Problems) -> Texts {
    let mut texts = BTreeMap::new();
    for Setting { name, text, source } in settings {
        if text.is_empty() && source == Source::Environment {
            continue;
        }
        let Ok(text) = text.into_string() else {
            problems.add(name, "is not valid UTF-8", None);
            continue;
        };
        match variable::classify(&name, &text) {
            Name::Known => {
                texts.insert(name, text);
            }
            Name::KubernetesLink => {}
            Name::Unknown { nearest } => problems.add(
                name,
                format!(
                    "is not a variable of this program; the nearest one is {} (if Kubernetes sets it for a Service, \
                     rename the Service or set `enableServiceLinks: false`)",
                    nearest.name()
                ),
                None,
            ),
        }
    }
    envy::prefixed(PREFIX)
        .from_iter(texts)
        .expect("every name is a field of `Texts`, and any text is a value of each")
}

/// The community's settings; `None` where one of them is a problem.
fn read_community(texts: &Texts, problems: &mut Problems) -> Option<CommunityConfig> {
    let api = read_api(texts, problems);
    let servers = problems.read(&variable::SERVER_IDS, texts.server_ids.as_deref(), value::servers);
    let requests_per_minute = match &texts.requests_per_minute {
        Some(text) => problems.read(&variable::REQUESTS_PER_MINUTE, Some(text), value::requests_per_minute),
        None => servers.as_ref().map(|servers| {
            let servers = u32::try_from(servers.len()).unwrap_or(u32::MAX);
            API_LIMIT_PER_MINUTE.saturating_sub(servers).max(1)
        }),
    };
    let cache_ttl = problems.read(&variable::CACHE_TTL, texts.cache_ttl.as_deref(), value::up_to_an_hour);
    let max_stale = problems.read(&variable::MAX_STALE, texts.max_stale.as_deref(), value::up_to_an_hour);
    Some(CommunityConfig {
        api: api?,
        servers: servers?,
        requests_per_minute: requests_per_minute?,
        cache_ttl: cache_ttl?,
        max_stale: max_stale?,
    })
}

fn read_api(texts: &Texts, problems: &mut Problems) -> Option<ApiConfig> {
    let allow_http = problems.read(&variable::ALLOW_HTTP, texts.allow_http.as_deref(), value::boolean);
    let url = problems.read(&variable::API_URL, texts.api_url.as_deref(), |text| {
        value::api_url(text, allow_http.unwrap_or(true))
    });
    let timeout = problems.read(&variable::API_TIMEOUT, texts.api_timeout.as_deref(), value::timeout);
    let key = read_key(texts, problems);
    let community_id = match &texts.community_id {
        Some(id) => problems.read(&variable::COMMUNITY_ID, Some(id), value::community_id),
        None => None,
    };
    let version = match problems.read(&variable::API_VERSION, texts.api_version.as_deref(), value::api_version)? {
        value::VersionNumber::Two => Some(ApiVersion::V2),
        value::VersionNumber::One => {
            if texts.community_id.is_none() {
                problems.report(&variable::COMMUNITY_ID, "is missing; API version v1 needs it");
            }
            community_id.map(|community_id| ApiVersion::V1 { community_id })
        }
    };
    Some(ApiConfig {
        url: url?,
        version: version?,
        key: key?,
        timeout: timeout?,
    })
}

fn read_key(texts: &Texts, problems: &mut Problems) -> Option<SecretString> {
    match (&texts.api_key, &texts.api_key_file) {
        (Some(_), Some(_)) => {
            problems.report(
                &variable::API_KEY,
                "and SONORANCAD_API_KEY_FILE are both set; keep one of them",
            );
            None
        }
        (None, None) => {
            problems.report(&variable::API_KEY, "is missing (or set SONORANCAD_API_KEY_FILE)");
            None
        }
        (Some(key), None) => match value::key(key) {
            Ok(key) => Some(key),
            Err(reason) => {
                problems.report(&variable::API_KEY, reason);
                None
            }
        },
        (None, Some(path)) => problems.read(&variable::API_KEY_FILE, Some(path), value::key_file),
    }
}

impl Problems {
    /// Each problem; shown, it is one line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Reads one setting, or its default; a text that cannot be read becomes a problem.
    fn read<T>(
        &mut self,
        variable: &'static Variable,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text.or(variable.default)?.trim())
            .map_err(|reason| self.report(variable, reason))
            .ok()
    }

    fn report(&mut self, variable: &'static Variable, reason: impl Into<String>) {
        self.add(variable.name(), reason, Some(variable.example));
    }

    fn add(&mut self, name: String, reason: impl Into<String>, example: Option<&'static str>) {
        self.0.push(Problem {
            name,
            reason: reason.into(),
            example,
        });
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.reason)?;
        self.example
            .map_or(Ok(()), |example| write!(f, "; for example: {example}"))
    }
}

#[cfg(test)]
mod tests;
