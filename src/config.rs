//! The configuration: read once, checked as a whole, every problem reported together.
//!
//! The environment and the flags become one list of [`Setting`]s. [`Config::read`] turns that list, and the
//! communities file that it may name, into a [`Config`] or into [`Problems`]. No message quotes the text of a
//! setting, except the path of that file: a secret in the wrong variable is not printed either.

mod account;
mod api;
mod communities;
mod community;
mod network;
mod problem;
mod setting;
mod value;
mod variable;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::filter::Targets;
use url::Url;

pub use self::account::{AccountConfig, EndpointConfig};
use self::account::{share_accounts, share_ids};
pub use self::api::{ApiConfig, ApiEndpoint, ApiVersion, LabelTexts, VersionChoice};
use self::community::Draft;
pub use self::community::{CommunityConfig, ServerConfig};
use self::network::Needs;
pub use self::network::{Network, Proxy};
use self::problem::Reason;
pub use self::problem::{Problem, Problems};
pub use self::setting::{Flags, Setting};
use self::variable::{RawConfig, Scope};
pub use self::variable::{VARIABLES, Variable, demo_help, help, is_ignored_in_demo};
use crate::files::WatchedFiles;

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
        let mut own = community::read_own(&raw, files, &mut problems);
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

/// Where replicas share what they know; `None` if that is not set, or is a problem.
fn read_shared_state(raw: &RawConfig, files: &mut WatchedFiles, problems: &mut Problems) -> Option<SecretString> {
    match (&raw.shared_state_url, &raw.shared_state_url_file) {
        (Some(_), Some(_)) => {
            problems.report_both(&variable::SHARED_STATE_URL, &variable::SHARED_STATE_URL_FILE);
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

#[cfg(test)]
mod tests;
