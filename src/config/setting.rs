//! The environment and the flags as one list, read into texts.

use std::collections::BTreeMap;
use std::ffi::OsString;

use secrecy::SecretString;
use serde::Deserialize;

use super::problem::Problems;
use super::variable::{self, Name, PREFIX, Variable};

/// A name, its text, and where both come from.
pub struct Setting {
    name: String,
    text: OsString,
    source: Source,
}

/// The conventional flags of exporters; each wins over its variable.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--web.listen-address`, any number of times.
    pub listen_addresses: Vec<String>,
    /// `--web.systemd-socket`.
    pub systemd_socket: bool,
    /// `--web.config.file`.
    pub web_config_file: Option<String>,
}

enum Source {
    Environment,
    Flag(&'static str),
}

/// The settings as envy reads them: texts, all optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Texts {
    pub(super) community_id: Option<String>,
    pub(super) api_key: Option<SecretString>,
    pub(super) api_key_file: Option<String>,
    pub(super) server_ids: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) api_url: Option<String>,
    pub(super) api_timeout: Option<String>,
    pub(super) cache_ttl: Option<String>,
    pub(super) max_stale: Option<String>,
    pub(super) requests_per_minute: Option<String>,
    pub(super) allow_http: Option<String>,
    pub(super) communities_file: Option<String>,
    pub(super) listen_address: Option<String>,
    pub(super) systemd_socket: Option<String>,
    pub(super) web_config_file: Option<String>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<String>,
    /// The flags that were given, by the names of their variables.
    #[serde(skip)]
    flags: BTreeMap<String, &'static str>,
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

    /// The settings that the conventional flags of exporters make.
    #[must_use]
    pub fn from_flags(flags: &Flags) -> Vec<Self> {
        let addresses = (!flags.listen_addresses.is_empty()).then(|| flags.listen_addresses.join(","));
        let socket = flags.systemd_socket.then(|| "true".to_owned());
        [
            (&variable::LISTEN_ADDRESS, "--web.listen-address", addresses),
            (&variable::SYSTEMD_SOCKET, "--web.systemd-socket", socket),
            (
                &variable::WEB_CONFIG_FILE,
                "--web.config.file",
                // Empty, as every exporter's default, it names none.
                flags.web_config_file.clone().filter(|path| !path.is_empty()),
            ),
        ]
        .into_iter()
        .filter_map(|(variable, flag, text)| {
            Some(Self {
                name: variable.name(),
                text: text?.into(),
                source: Source::Flag(flag),
            })
        })
        .collect()
    }
}

impl Texts {
    /// Drops empty texts, checks the names, and reads what is left.
    pub(super) fn gather(settings: impl IntoIterator<Item = Setting>, problems: &mut Problems) -> Self {
        let mut texts = BTreeMap::new();
        let mut flags = BTreeMap::new();
        for Setting { name, text, source } in settings {
            match source {
                Source::Environment if text.is_empty() => continue,
                Source::Environment => {}
                Source::Flag(flag) => drop(flags.insert(name.clone(), flag)),
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
        Self {
            flags,
            ..Self::new(texts)
        }
    }

    /// The same problems, but of the flags where these have made the settings.
    pub(super) fn name_flags(&self, mut problems: Problems) -> Problems {
        for (variable, flag) in &self.flags {
            for problem in &mut problems.0 {
                problem.name = problem.name.replace(variable, flag);
                problem.reason = problem.reason.replace(variable, flag);
            }
        }
        problems
    }

    /// The texts of these variables, by their whole names, each of which exists.
    pub(super) fn new(texts: BTreeMap<String, String>) -> Self {
        envy::prefixed(PREFIX)
            .from_iter(texts)
            .expect("every name is a field of `Texts`, and any text is a value of each")
    }

    /// The settings that describe a community, with their texts.
    pub(super) fn of_community(&self) -> [(&'static Variable, Option<&str>); 8] {
        [
            (&variable::SERVER_IDS, self.server_ids.as_deref()),
            (&variable::API_VERSION, self.api_version.as_deref()),
            (&variable::API_URL, self.api_url.as_deref()),
            (&variable::API_TIMEOUT, self.api_timeout.as_deref()),
            (&variable::CACHE_TTL, self.cache_ttl.as_deref()),
            (&variable::MAX_STALE, self.max_stale.as_deref()),
            (&variable::REQUESTS_PER_MINUTE, self.requests_per_minute.as_deref()),
            (&variable::ALLOW_HTTP, self.allow_http.as_deref()),
        ]
    }
}
