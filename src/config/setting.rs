//! Turns the environment and the flags into one list, and that into texts.

use std::collections::BTreeMap;
use std::ffi::OsString;

use zeroize::Zeroizing;

use super::network::{self, Shared};
use super::problem::{Origin, Problems, Reason};
use super::value;
use super::variable::{self, Name, PREFIX, RawConfig, Variable};
use crate::text;

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
    /// `--web.external-url`.
    pub external_url: Option<String>,
    /// `--web.config.file`.
    pub web_config_file: Option<String>,
}

enum Source {
    Environment,
    Flag {
        variable: &'static Variable,
        flag: &'static str,
    },
}

impl Setting {
    /// The settings among `variables`, as [`std::env::vars_os`] returns them: those with our prefix, and those for
    /// proxies and CA certificates that all programs share.
    pub fn from_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<Self> {
        variables
            .into_iter()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text))
            .filter(|(name, _)| name.starts_with(PREFIX) || network::shared_name(name).is_some())
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
        // An empty one counts as not given, like every other value.
        let addresses = flags.listen_addresses.iter().map(String::as_str);
        let addresses: Vec<_> = addresses.filter(|text| text::value(text) != Ok(None)).collect();
        let addresses = (!addresses.is_empty()).then(|| addresses.join(","));
        let socket = flags.systemd_socket.then(|| "true".to_owned());
        [
            (&variable::LISTEN_ADDRESS, "--web.listen-address", addresses),
            (&variable::SYSTEMD_SOCKET, "--web.systemd-socket", socket),
            (
                &variable::EXTERNAL_URL,
                "--web.external-url",
                // Empty means none: the default of this flag in every exporter.
                flags.external_url.clone().filter(|url| !url.is_empty()),
            ),
            (
                &variable::WEB_CONFIG_FILE,
                "--web.config.file",
                flags.web_config_file.clone(),
            ),
        ]
        .into_iter()
        .filter_map(|(variable, flag, text)| {
            Some(Self {
                name: variable.name(),
                text: text?.into(),
                source: Source::Flag { variable, flag },
            })
        })
        .collect()
    }
}

/// Cleans the texts, drops empty ones, checks the names, and reads the rest; with the problems of names and texts.
///
/// The shared variables may be wrong where they have no effect, so that their problems are not among these.
pub(super) fn gather(settings: impl IntoIterator<Item = Setting>) -> (RawConfig, Shared, Problems) {
    let settings: Vec<_> = settings.into_iter().collect();
    let flags = settings.iter().filter_map(|setting| match setting.source {
        Source::Flag { variable, flag } => Some((variable.short, flag)),
        Source::Environment => None,
    });
    let mut problems = Problems::of(Origin::Environment(flags.collect()));
    let mut texts = BTreeMap::new();
    let mut shared = Shared::new();
    for Setting { name, text, .. } in settings {
        let text = text::decode(text.into_encoded_bytes());
        if let Some(name) = network::shared_name(&name) {
            let value = text.and_then(|text| text::value(&text).map(|value| value.map(str::to_owned)));
            shared.insert(name, value);
            continue;
        }
        // It may be the key.
        let text = text.map(Zeroizing::new);
        let (text, value) = match &text {
            Ok(text) => (text.as_str(), text::value(text)),
            Err(oddity) => ("", Err(*oddity)),
        };
        if value == Ok(None) {
            continue;
        }
        match variable::classify(&name, text) {
            Name::Known(variable) => {
                match value {
                    Err(oddity) => problems.report_without_example(variable, oddity.to_string()),
                    Ok(Some(value)) if repeats_name(&name, value) => problems.report_without_example(
                        variable,
                        "repeats its own name and an equals sign; keep only what follows them",
                    ),
                    Ok(Some(value)) if value.contains(" # ") => {
                        problems.report_without_example(variable, value::BEFORE_COMMENT);
                    }
                    Ok(_) => {}
                }
                // Even if it is odd: it is not missing.
                texts.insert(name, value.ok().flatten().unwrap_or(text).to_owned());
            }
            Name::KubernetesLink => {}
            Name::Unknown { nearest } => problems.report_other(name, unknown(nearest)),
        }
    }
    (RawConfig::new(texts), shared, problems)
}

/// What is wrong with the name of a setting that does not exist.
fn unknown(nearest: Option<&'static Variable>) -> Reason {
    let reason = match nearest {
        Some(variable) => Reason::from("is not a variable of this program; the nearest one is ").variable(variable),
        None => Reason::from("is not a variable of this program; --help lists them"),
    };
    reason.text(" (if Kubernetes sets it for a Service, rename the Service or set `enableServiceLinks: false`)")
}

/// Whether a value is a whole line of an environment file: `SONORANCAD_CACHE_TTL=25s`.
fn repeats_name(name: &str, value: &str) -> bool {
    value
        .strip_prefix(name)
        .is_some_and(|rest| rest.trim_start().starts_with('='))
}
