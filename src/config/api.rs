//! The API of a community: its address, its version, and the key for it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::problem::{Problems, Reason};
use super::value;
use super::variable::{self, RawConfig};
use crate::files::WatchedFiles;
use crate::label::{TextSet, label_values};

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

/// Where the API is, and the key; `None` where one of their settings is a problem. Relative paths start from `folder`.
pub(super) fn read(
    raw: &RawConfig,
    folder: &Path,
    files: &mut WatchedFiles,
    problems: &mut Problems,
) -> Option<ApiConfig> {
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
            problems.report_both(&variable::API_KEY, &variable::API_KEY_FILE);
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
