//! Turns the environment and the flags into one list, and that into texts.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::problem::{Origin, Problems, Reason};
use super::variable::{self, Name, PREFIX, RawConfig, Variable};

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
    /// The settings among `variables`, as [`std::env::vars_os`] returns them: those with our prefix.
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
                &variable::EXTERNAL_URL,
                "--web.external-url",
                // Empty means none: the default of this flag in every exporter.
                flags.external_url.clone().filter(|url| !url.is_empty()),
            ),
            (
                &variable::WEB_CONFIG_FILE,
                "--web.config.file",
                // Empty means no file: the default of this flag in every exporter.
                flags.web_config_file.clone().filter(|path| !path.is_empty()),
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

/// Drops empty texts, checks the names, and reads the rest; with the problems of the names.
pub(super) fn gather(settings: impl IntoIterator<Item = Setting>) -> (RawConfig, Problems) {
    let settings: Vec<_> = settings.into_iter().collect();
    let flags = settings.iter().filter_map(|setting| match setting.source {
        Source::Flag { variable, flag } => Some((variable.short, flag)),
        Source::Environment => None,
    });
    let mut problems = Problems::of(Origin::Environment(flags.collect()));
    let mut texts = BTreeMap::new();
    for Setting { name, text, source } in settings {
        if matches!(source, Source::Environment) && text.is_empty() {
            continue;
        }
        let Ok(text) = text.into_string() else {
            problems.report_other(name, "is not valid UTF-8");
            continue;
        };
        match variable::classify(&name, &text) {
            Name::Known => drop(texts.insert(name, text)),
            Name::KubernetesLink => {}
            Name::Unknown { nearest } => {
                let reason = Reason::from("is not a variable of this program; the nearest one is ")
                    .variable(nearest)
                    .text(
                        " (if Kubernetes sets it for a Service, rename the Service or set `enableServiceLinks: false`)",
                    );
                problems.report_other(name, reason);
            }
        }
    }
    (RawConfig::new(texts), problems)
}
