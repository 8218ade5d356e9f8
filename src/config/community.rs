//! One community: its API, its servers, and how often they are read.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use enum_map::EnumMap;

use super::account::{AccountConfig, MAX_IDS};
use super::api::{self, ApiConfig, ApiEndpoint};
use super::problem::{Problems, Reason};
use super::value;
use super::variable::{self, RawConfig, Scope};
use crate::files::WatchedFiles;

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

/// One CAD server of the community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The server's number in the CAD.
    pub id: u32,
    /// The name that the user chose.
    pub name: Option<String>,
}

/// A community before the others are read that may share its key.
pub(super) struct Draft {
    pub(super) community: CommunityConfig,
    /// `SONORANCAD_REQUESTS_PER_MINUTE`, `SONORANCAD_UNIT_REQUESTS_PER_MINUTE`, if set.
    pub(super) requests_per_minute: EnumMap<ApiEndpoint, Option<u32>>,
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

/// The community that the environment describes; `None` where one of its settings is a problem, or where
/// there is a file of communities and nothing that names another one.
pub(super) fn read_own(raw: &RawConfig, files: &mut WatchedFiles, problems: &mut Problems) -> Option<Draft> {
    let names_one = raw.set_variables().any(|variable| variable.scope == Scope::Identity);
    if names_one || raw.communities_file.is_none() {
        return read(raw, Path::new(""), files, problems);
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
pub(super) fn read(raw: &RawConfig, folder: &Path, files: &mut WatchedFiles, problems: &mut Problems) -> Option<Draft> {
    let api = api::read(raw, folder, files, problems);
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
