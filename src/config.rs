//! The configuration: read once, checked as a whole, every problem reported together.
//!
//! The environment and the flags become one list of [`Setting`]s. [`Config::read`] turns that list, and the
//! communities file that it may name, into a [`Config`] or into [`Problems`]. No message quotes the text of a
//! setting, except the path of that file: a secret in the wrong variable is not printed either.

mod account;
mod communities;
mod network;
mod problem;
mod setting;
mod value;
mod variable;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enum_map::EnumMap;
use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::filter::Targets;
use url::Url;

pub use self::account::{AccountConfig, EndpointConfig};
use self::account::{MAX_IDS, share_accounts, share_ids};
use self::network::Needs;
pub use self::network::{Network, Proxy};
use self::problem::Reason;
pub use self::problem::{Problem, Problems};
pub use self::setting::{Flags, Setting};
use self::variable::{RawConfig, Scope};
pub use self::variable::{VARIABLES, Variable, demo_help, help, is_ignored_in_demo};
use crate::files::WatchedFiles;
use crate::label::{TextSet, label_values};

/// The whole configuration of the program.
#[derive(Clone, Debug)]
pub struct Config {
    /// The community that the environment describes. Always present without a communities file.
    pub community: Option<CommunityConfig>,
    /// The communities of `SONORANCAD_COMMUNITIES_FILE`, by alias.
    pub communities: BTreeMap<String, CommunityConfig>,
    /// Where metrics are served.
    pub listen: Listen,
    /// `SONORANCAD_EXTERNAL_URL`: where clients reach the exporter through a reverse proxy.
    pub external_url: Option<Url>,
    /// `SONORANCAD_SHARED_STATE_URL`, or the content of `SONORANCAD_SHARED_STATE_URL_FILE`: where replicas share what they
    /// know.
    pub shared_state: Option<SecretString>,
    /// `SONORANCAD_DASHBOARD_URL`: where the dashboards are, for the status page.
    pub dashboard_url: Option<Url>,
    /// `SONORANCAD_WEB_CONFIG_FILE`: how they are served.
    pub web_config_file: Option<PathBuf>,
    /// How the API is reached: proxies and CA certificates.
    pub network: Network,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `SONORANCAD_LISTEN_ADDRESS`; the unspecified IPv6 address stands for all addresses of both families.
    Addresses(Vec<SocketAddr>),
    /// `SONORANCAD_SYSTEMD_SOCKET`: at the sockets that systemd passes on.
    SystemdSocket,
}

/// One community: its API, its servers, and how often they are read.
#[derive(Clone, Debug)]
pub struct CommunityConfig {
    /// Where the API is, and the key for it.
    pub api: ApiConfig,
    /// The servers to read: at least one, no id twice.
    pub servers: Vec<ServerConfig>,
    /// `SONORANCAD_COLLECT`: whether units are read as well as calls.
    pub collects_units: bool,
    /// What it shares with every server that is read with the same key.
    pub account: AccountConfig,
    /// How many ids of calls and units each server may keep in each list: an equal share of what the process may keep.
    pub max_ids: usize,
    /// `SONORANCAD_CACHE_TTL`, as asked for.
    pub cache_ttl: Duration,
    /// `SONORANCAD_MAX_STALE`, as asked for.
    pub max_stale: Duration,
    /// What its targets are labelled with besides its alias: valid names that neither a target nor a metric has. Empty
    /// for the community that the environment describes.
    pub labels: BTreeMap<String, String>,
}

label_values! {
    /// An endpoint of the API, as the label `api_endpoint` names it.
    ApiEndpoint {
        /// Dispatch, emergency and closed calls.
        Calls = "calls",
        /// Units and dispatchers on duty.
        Units = "units",
    }
}

label_values! {
    /// A version of the API, as the label `api_version` names it.
    ApiVersion {
        /// The documented version, `GET_CALLS`.
        V1 = "v1",
        /// The version announced in April 2026; the key alone names the community.
        V2 = "v2",
    }
}

/// Where the API is, and the key for it.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `SONORANCAD_API_URL`; its path ends in a slash.
    pub url: Url,
    /// `SONORANCAD_API_VERSION`, with what version v1 needs.
    pub version: VersionChoice,
    /// `SONORANCAD_API_KEY`, or the content of `SONORANCAD_API_KEY_FILE`.
    pub key: SecretString,
    /// `SONORANCAD_API_TIMEOUT`: the time limit of one request, answer included.
    pub timeout: Duration,
    /// What may become a label.
    pub labels: LabelTexts,
}

/// Which versions of the API may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionChoice {
    /// Version v1 first; version v2 from when v1 refuses and v2 answers.
    Auto {
        /// `SONORANCAD_COMMUNITY_ID`.
        community_id: String,
    },
    /// Version v1 only.
    V1 {
        /// `SONORANCAD_COMMUNITY_ID`.
        community_id: String,
    },
    /// Version v2 only.
    V2 {
        /// Whether that is asked for. Otherwise, the community's id is missing, which version v1 needs.
        is_by_name: bool,
    },
}

/// The texts of an answer that may become values of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelTexts {
    /// `SONORANCAD_CALL_CODES`.
    pub call_codes: TextSet,
    /// `SONORANCAD_DEPARTMENTS`.
    pub departments: TextSet,
}

/// One CAD server of the community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The server's number in the CAD.
    pub id: u32,
    /// The name that the user chose.
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

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A community before the others are read that may share its key.
struct Draft {
    community: CommunityConfig,
    /// `SONORANCAD_REQUESTS_PER_MINUTE`, `SONORANCAD_UNIT_REQUESTS_PER_MINUTE`, if set.
    requests_per_minute: EnumMap<ApiEndpoint, Option<u32>>,
}

impl Config {
    /// Reads the settings, and the files of keys and communities that they name.
    ///
    /// The last setting of a name wins, so put flags after the environment.
    ///
    /// # Errors
    ///
    /// All problems of all settings.
    pub fn read(settings: impl IntoIterator<Item = Setting>) -> Result<Self, Problems> {
        Self::read_with(settings, &mut WatchedFiles::default())
    }

    /// The same; the files that were read are added to `files`, valid or not.
    ///
    /// # Errors
    ///
    /// All problems of all settings.
    pub fn read_with(settings: impl IntoIterator<Item = Setting>, files: &mut WatchedFiles) -> Result<Self, Problems> {
        let (raw, shared, mut problems) = setting::gather(settings);
        let is_about_community =
            |variable: &Variable| variable.scope != Scope::Program || *variable == variable::COMMUNITIES_FILE;
        problems.is_unconfigured = problems.list.is_empty() && !raw.set_variables().any(is_about_community);
        let mut own = read_own_community(&raw, files, &mut problems);
        let mut communities = match &raw.communities_file {
            Some(path) => communities::read(Path::new(path), files, &mut problems),
            None => BTreeMap::new(),
        };
        let named = communities.iter_mut().map(|(alias, draft)| (Some(&**alias), draft));
        let all = own.iter_mut().map(|draft| (None, draft)).chain(named);
        share_accounts(all, &mut problems);
        share_ids(own.iter_mut().chain(communities.values_mut()));
        let drafts = own.iter().chain(communities.values());
        let shared_state = read_shared_state(&raw, files, &mut problems);
        let mut needs = network_needs(drafts, !problems.list.is_empty());
        needs.certificates |= shared_state.as_ref().is_some_and(needs_tls);
        let network = network::read(&shared, needs, files, &mut problems);
        let listen = read_listen(&raw, &mut problems);
        let external_url = raw.external_url.as_deref();
        let external_url =
            external_url.and_then(|text| problems.read(&variable::EXTERNAL_URL, Some(text), value::external_url));
        let dashboard_url = raw.dashboard_url.as_deref();
        let dashboard_url =
            dashboard_url.and_then(|text| problems.read(&variable::DASHBOARD_URL, Some(text), value::dashboard_url));
        let filter = problems.read(&variable::LOG, raw.log.as_deref(), value::log_filter);
        let format = problems.read(&variable::LOG_FORMAT, raw.log_format.as_deref(), value::log_format);
        match (listen, filter, format) {
            (Some(listen), Some(filter), Some(format)) if problems.list.is_empty() => {
                let named = communities.into_iter();
                Ok(Self {
                    community: own.map(|draft| draft.community),
                    communities: named.map(|(alias, draft)| (alias, draft.community)).collect(),
                    listen,
                    external_url,
                    shared_state,
                    dashboard_url,
                    web_config_file: raw.web_config_file.map(PathBuf::from),
                    network,
                    log: LogConfig { filter, format },
                })
            }
            _ => Err(problems),
        }
    }

    /// Every community, with its alias if it has one.
    pub fn all_communities(&self) -> impl Iterator<Item = (Option<&str>, &CommunityConfig)> {
        let own = self.community.iter().map(|community| (None, community));
        let named = self
            .communities
            .iter()
            .map(|(alias, community)| (Some(&**alias), community));
        own.chain(named)
    }

    /// Whether any community needs CA certificates.
    #[must_use]
    pub fn needs_certificates(&self) -> bool {
        self.shared_state.as_ref().is_some_and(needs_tls)
            || self
                .all_communities()
                .any(|(_, community)| community.api.needs_certificates())
    }
}

/// Reads the text of a communities file, and the key files that it names.
///
/// # Errors
///
/// All problems of all communities.
pub fn parse_communities(text: &str) -> Result<BTreeMap<String, CommunityConfig>, Problems> {
    let mut problems = Problems::default();
    let mut drafts = communities::parse(text, Path::new("the file"), &mut WatchedFiles::default(), &mut problems);
    let named = drafts.iter_mut().map(|(alias, draft)| (Some(&**alias), draft));
    share_accounts(named, &mut problems);
    if problems.list.is_empty() {
        Ok(drafts
            .into_iter()
            .map(|(alias, draft)| (alias, draft.community))
            .collect())
    } else {
        Err(problems)
    }
}

/// Where to check the health of an exporter that runs with these settings. Other settings may be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct HealthTarget {
    /// The first of `SONORANCAD_LISTEN_ADDRESS`: one process serves all of them.
    pub address: SocketAddr,
    /// Whether TLS or users may be configured.
    pub is_guarded: bool,
}

impl HealthTarget {
    /// Reads only the settings that matter for that.
    ///
    /// # Errors
    ///
    /// The problem of `SONORANCAD_LISTEN_ADDRESS`.
    pub fn read(settings: impl IntoIterator<Item = Setting>) -> Result<Self, Problems> {
        let (raw, _, others) = setting::gather(settings);
        let mut problems = Problems::of(others.origin().clone());
        let addresses = problems.read(
            &variable::LISTEN_ADDRESS,
            raw.listen_address.as_deref(),
            value::listen_addresses,
        );
        Ok(Self {
            address: *addresses.as_deref().and_then(<[_]>::first).ok_or(problems)?,
            is_guarded: raw.web_config_file.is_some(),
        })
    }
}

impl CommunityConfig {
    /// What is set but has no effect, as a sentence without a full stop.
    #[must_use]
    pub fn unused(&self) -> Option<&'static str> {
        let budget = self.account.endpoints[ApiEndpoint::Units].requests_per_minute;
        let is_set = !self.api.labels.departments.is_empty() || budget.is_some();
        (is_set && self.account.endpoints[ApiEndpoint::Units].servers == 0).then_some(
            "the settings of units (departments, unit_requests_per_minute) have no effect, since units are not read: \
             SONORANCAD_COLLECT=calls,units reads them",
        )
    }
}

impl ApiConfig {
    /// Whether requests need CA certificates: always, except for plain HTTP on this machine.
    #[must_use]
    pub fn needs_certificates(&self) -> bool {
        self.url.scheme() != "http" || !self.is_local()
    }

    /// The address and the key. Communities with both in common share one rate limit.
    #[must_use]
    pub fn account(&self) -> (&str, &str) {
        (self.url.as_str(), self.key.expose_secret())
    }

    /// What is odd about the key, and what to do about it, if the API refuses it. It may be right nevertheless.
    #[must_use]
    pub fn doubt_about_key(&self) -> Option<&'static str> {
        value::doubt_about_key(self.key.expose_secret(), self.version.community_id())
    }

    /// Whether the API is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        value::is_loopback(&self.url)
    }
}

impl PartialEq for ApiConfig {
    fn eq(&self, other: &Self) -> bool {
        self.account() == other.account()
            && self.version == other.version
            && self.timeout == other.timeout
            && self.labels == other.labels
    }
}

impl Eq for ApiConfig {}

impl VersionChoice {
    /// The community's id; empty where only version v2 is asked.
    #[must_use]
    pub fn community_id(&self) -> &str {
        match self {
            Self::Auto { community_id } | Self::V1 { community_id } => community_id,
            Self::V2 { .. } => "",
        }
    }
}

impl fmt::Display for VersionChoice {
    /// As the configuration spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto { .. } => "auto",
            Self::V1 { .. } => "v1",
            Self::V2 { .. } => "v2",
        })
    }
}

/// Where replicas share what they know; `None` if that is not set, or is a problem.
fn read_shared_state(raw: &RawConfig, files: &mut WatchedFiles, problems: &mut Problems) -> Option<SecretString> {
    match (&raw.shared_state_url, &raw.shared_state_url_file) {
        (Some(_), Some(_)) => {
            let reason = Reason::from("and ")
                .variable(&variable::SHARED_STATE_URL_FILE)
                .text(" are both set; keep one of them");
            problems.report_without_example(&variable::SHARED_STATE_URL, reason);
            None
        }
        (None, None) => None,
        (Some(url), None) => value::shared_state_url(url)
            .map_err(|reason| problems.report(&variable::SHARED_STATE_URL, reason))
            .ok(),
        (None, Some(path)) => value::shared_state_url_file(Path::new(path), files)
            .map_err(|reason| problems.report_without_example(&variable::SHARED_STATE_URL_FILE, reason))
            .ok(),
    }
}

/// Whether the store is reached through TLS.
fn needs_tls(url: &SecretString) -> bool {
    url.expose_secret().starts_with("rediss:")
}

fn read_listen(raw: &RawConfig, problems: &mut Problems) -> Option<Listen> {
    let is_systemd = problems.read(&variable::SYSTEMD_SOCKET, raw.systemd_socket.as_deref(), value::boolean)?;
    if !is_systemd {
        let addresses = raw.listen_address.as_deref();
        let addresses = problems.read(&variable::LISTEN_ADDRESS, addresses, value::listen_addresses);
        return addresses.map(Listen::Addresses);
    }
    if raw.listen_address.is_some() {
        let reason = Reason::from("has no effect with ")
            .variable(&variable::SYSTEMD_SOCKET)
            .text("; the socket unit says where to listen");
        problems.report_without_example(&variable::LISTEN_ADDRESS, reason);
    }
    Some(Listen::SystemdSocket)
}

/// What the communities need to be reached. Where some cannot be read, they may need HTTPS.
fn network_needs<'a>(drafts: impl Iterator<Item = &'a Draft>, has_problems: bool) -> Needs {
    let mut needs = Needs {
        secure_proxy: has_problems,
        plain_proxy: false,
        certificates: has_problems,
    };
    for Draft { community, .. } in drafts {
        let api = &community.api;
        needs.secure_proxy |= !api.is_local() && api.url.scheme() == "https";
        needs.plain_proxy |= !api.is_local() && api.url.scheme() == "http";
        needs.certificates |= api.needs_certificates();
    }
    needs
}

/// The community that the environment describes; `None` where one of its settings is a problem, or where
/// there is a file of communities and nothing that names another one.
fn read_own_community(raw: &RawConfig, files: &mut WatchedFiles, problems: &mut Problems) -> Option<Draft> {
    let names_one = raw.set_variables().any(|variable| variable.scope == Scope::Identity);
    if names_one || raw.communities_file.is_none() {
        return read_community(raw, Path::new(""), files, problems);
    }
    for variable in raw
        .set_variables()
        .filter(|variable| variable.scope == Scope::Community)
    {
        let reason = Reason::from("needs ")
            .variable(&variable::API_KEY)
            .text("; move it into the communities file");
        problems.report_without_example(variable, reason);
    }
    None
}

/// A community's settings; `None` where one of them is a problem. Relative paths start from `folder`.
fn read_community(raw: &RawConfig, folder: &Path, files: &mut WatchedFiles, problems: &mut Problems) -> Option<Draft> {
    let api = read_api(raw, folder, files, problems);
    let servers = problems.read(&variable::SERVER_IDS, raw.server_ids.as_deref(), value::servers);
    let collects_units = problems.read(&variable::COLLECT, raw.collect.as_deref(), value::collects_units);
    let requests_per_minute = EnumMap::from_fn(|endpoint| {
        let (variable, text) = match endpoint {
            ApiEndpoint::Calls => (&variable::REQUESTS_PER_MINUTE, &raw.requests_per_minute),
            ApiEndpoint::Units => (&variable::UNIT_REQUESTS_PER_MINUTE, &raw.unit_requests_per_minute),
        };
        problems.read(variable, text.as_deref(), value::requests_per_minute)
    });
    let cache_ttl = problems.read(&variable::CACHE_TTL, raw.cache_ttl.as_deref(), value::up_to_an_hour);
    let max_stale = problems.read(&variable::MAX_STALE, raw.max_stale.as_deref(), value::up_to_an_hour);
    Some(Draft {
        community: CommunityConfig {
            api: api?,
            servers: servers?,
            collects_units: collects_units?,
            // A placeholder: `share_accounts` sets it when all communities are read.
            account: AccountConfig::default(),
            max_ids: MAX_IDS,
            cache_ttl: cache_ttl?,
            max_stale: max_stale?,
            // A file of communities has some.
            labels: BTreeMap::new(),
        },
        requests_per_minute,
    })
}

fn read_api(raw: &RawConfig, folder: &Path, files: &mut WatchedFiles, problems: &mut Problems) -> Option<ApiConfig> {
    let allow_http = problems.read(&variable::ALLOW_HTTP, raw.allow_http.as_deref(), value::boolean);
    let url = problems.read(&variable::API_URL, raw.api_url.as_deref(), |text| {
        value::api_url(text, allow_http.unwrap_or(true))
    });
    let timeout = problems.read(&variable::API_TIMEOUT, raw.api_timeout.as_deref(), value::timeout);
    let key = read_key(raw, folder, files, problems);
    let community_id = problems.read(
        &variable::COMMUNITY_ID,
        raw.community_id.as_deref(),
        value::community_id,
    );
    let version = problems.read(&variable::API_VERSION, raw.api_version.as_deref(), value::api_version);
    if version == Some(Some(ApiVersion::V1)) && raw.community_id.is_none() {
        problems.report(&variable::COMMUNITY_ID, "is missing; API version v1 needs it");
    }
    let mut label_texts = |variable, text: &Option<String>| match text.as_deref() {
        Some(text) => problems.read(variable, Some(text), value::label_texts),
        None => Some(TextSet::default()),
    };
    let call_codes = label_texts(&variable::CALL_CODES, &raw.call_codes);
    let departments = label_texts(&variable::DEPARTMENTS, &raw.departments);
    Some(ApiConfig {
        url: url?,
        version: match (version?, community_id) {
            (Some(ApiVersion::V2), _) => VersionChoice::V2 { is_by_name: true },
            (Some(ApiVersion::V1), community_id) => VersionChoice::V1 {
                community_id: community_id?,
            },
            (None, Some(community_id)) => VersionChoice::Auto { community_id },
            (None, None) => VersionChoice::V2 { is_by_name: false },
        },
        key: key?,
        timeout: timeout?,
        labels: LabelTexts {
            call_codes: call_codes?,
            departments: departments?,
        },
    })
}

fn read_key(raw: &RawConfig, folder: &Path, files: &mut WatchedFiles, problems: &mut Problems) -> Option<SecretString> {
    match (&raw.api_key, &raw.api_key_file) {
        (Some(_), Some(_)) => {
            let reason = Reason::from("and ")
                .variable(&variable::API_KEY_FILE)
                .text(" are both set; keep one of them");
            problems.report_without_example(&variable::API_KEY, reason);
            None
        }
        (None, None) => {
            let reason = Reason::from("is missing (or set ")
                .variable(&variable::API_KEY_FILE)
                .text(")");
            problems.report(&variable::API_KEY, reason);
            None
        }
        // An example would not help: the text is there, but something is odd about it.
        (Some(key), None) => value::key(key)
            .map_err(|reason| problems.report_without_example(&variable::API_KEY, reason))
            .ok(),
        (None, Some(path)) => value::key_file(&folder.join(path), files)
            .map_err(|reason| problems.report_without_example(&variable::API_KEY_FILE, reason))
            .ok(),
    }
}

#[cfg(test)]
mod tests;
