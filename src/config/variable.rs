//! The table of every variable: the one list of names, defaults and examples.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::SecretString;
use serde::Deserialize;

use crate::spelling;
use crate::text;

/// What every variable's name starts with.
pub(super) const PREFIX: &str = "SONORANCAD_";

/// One setting that a user can make.
#[derive(Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name without the prefix: `API_KEY`.
    pub(super) short: &'static str,
    /// The name in the communities file: `api_key`.
    pub(super) key: &'static str,
    /// What it configures.
    pub(super) scope: Scope,
    /// Whether a demo obeys it too. No such variable leads to a real API.
    pub in_demo: bool,
    /// The text that applies if the user sets none.
    pub default: Option<&'static str>,
    /// A value that works, for messages.
    pub(super) example: &'static str,
    /// One sentence for `--help`.
    pub help: &'static str,
}

/// What a variable configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Which community it is, and its key. Setting one of these describes a community.
    Identity,
    /// Everything else about one community.
    Community,
    /// The whole program.
    Program,
}

impl Variable {
    /// The name as the environment spells it: `SONORANCAD_API_KEY`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.short)
    }
}

/// One row per variable: everything that lists variables is generated here.
macro_rules! variables {
    ($($short:ident / $field:ident: $kind:ty, $scope:ident, in_demo $in_demo:literal,
        $default:expr, $example:literal, $help:literal;)*) => {
        $(pub(super) static $short: Variable = Variable {
            short: stringify!($short), key: stringify!($field), scope: Scope::$scope, in_demo: $in_demo,
            default: $default, example: $example, help: $help,
        };)*

        /// Every variable, in the order of the documentation.
        pub static VARIABLES: &[&Variable] = &[$(&$short),*];

        /// The texts of one community or of the environment, as envy reads them. All are optional.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct RawConfig {
            $(pub(super) $field: Option<$kind>,)*
        }

        impl RawConfig {
            /// The variables that are set.
            pub(super) fn set_variables(&self) -> impl Iterator<Item = &'static Variable> {
                [$((&$short, self.$field.is_some())),*]
                    .into_iter()
                    .filter_map(|(variable, is_set)| is_set.then_some(variable))
            }
        }
    };
}

variables! {
    COMMUNITY_ID / community_id: String, Identity, in_demo false,
        None, "mycommunity",
        "The community's id. Needed for API version v1, which is asked first where it is set.";
    API_KEY / api_key: SecretString, Identity, in_demo false,
        None, "0f8a...",
        "The community's API key.";
    API_KEY_FILE / api_key_file: String, Identity, in_demo false,
        None, "/run/secrets/sonorancad_api_key",
        "A file with the API key, instead of the variable above.";
    SERVER_IDS / server_ids: String, Community, in_demo false,
        Some("1"), "1=Main,2=Events",
        "The CAD servers to read, with names if you like: `1=Main,2=Events`.";
    API_VERSION / api_version: String, Community, in_demo false,
        Some("auto"), "v2",
        "The version of the API: `v1`, `v2`, or `auto`, which asks v1 first and goes over to v2 when v1 refuses and v2 answers.";
    API_URL / api_url: String, Community, in_demo false,
        Some("https://api.sonorancad.com"), "https://api.sonorancad.com",
        "The address of the API.";
    API_TIMEOUT / api_timeout: String, Community, in_demo false,
        Some("8s"), "8s",
        "The time limit of one API request (100ms to 1m).";
    COLLECT / collect: String, Community, in_demo false,
        Some("calls"), "calls,units",
        "What to read: `calls`, or `calls,units` for the units on duty too.";
    CALL_CODES / call_codes: String, Community, in_demo true,
        None, "10-31,10-50",
        "The codes of calls to count one by one, at most 50; all others count as `other`.";
    DEPARTMENTS / departments: String, Community, in_demo true,
        None, "LSPD,LSFD",
        "The departments whose units to count one by one, at most 50; all others count as `other`.";
    CACHE_TTL / cache_ttl: String, Community, in_demo true,
        Some("25s"), "25s",
        "How long an answer counts as fresh (1s to 1h); the budget can make it longer.";
    MAX_STALE / max_stale: String, Community, in_demo true,
        Some("2m"), "2m",
        "The age from which data is no longer shown (1s to 1h); at least twice the TTL in force.";
    REQUESTS_PER_MINUTE / requests_per_minute: String, Community, in_demo false,
        None, "4",
        "The maximum of requests for calls per minute, for all servers together (1 to 60). Default: 12 on version v1 of the API; on v2, 5 minus the number of servers, at least 1.";
    UNIT_REQUESTS_PER_MINUTE / unit_requests_per_minute: String, Community, in_demo false,
        None, "2",
        "The same of requests for units. Default: 6 on version v1 of the API; on v2, 3 minus the number of servers, at least 1.";
    ALLOW_HTTP / allow_http: String, Community, in_demo false,
        Some("false"), "true",
        "Whether to allow plain HTTP to an API on another machine.";
    COMMUNITIES_FILE / communities_file: String, Program, in_demo false,
        None, "/etc/sonorancad-exporter/communities.yml",
        "A file with several communities, each served at `/probe?community=<alias>`.";
    SHARED_STATE_URL / shared_state_url: SecretString, Program, in_demo false,
        None, "redis://redis.example.org:6379",
        "A Valkey or Redis server through which replicas share budgets and counts: `redis://`, `rediss://` for TLS, or `unix:` with a path.";
    SHARED_STATE_URL_FILE / shared_state_url_file: String, Program, in_demo false,
        None, "/run/secrets/shared_state_url",
        "A file with that address, which may contain a password, instead of the variable above.";
    LISTEN_ADDRESS / listen_address: String, Program, in_demo true,
        Some(":10911"), ":10911",
        "The addresses to serve on, separated by commas; `:10911` for all of this machine's addresses, IPv4 and IPv6.";
    SYSTEMD_SOCKET / systemd_socket: String, Program, in_demo true,
        Some("false"), "true",
        "Whether to use the sockets that systemd passes on, instead of addresses.";
    EXTERNAL_URL / external_url: String, Program, in_demo true,
        None, "https://example.org/sonorancad",
        "Where Prometheus reaches the exporter, if that is through a reverse proxy; `/sd` lists this address.";
    DASHBOARD_URL / dashboard_url: String, Program, in_demo true,
        None, "https://grafana.example.org/d/sonorancad-community",
        "The address of your dashboards in Grafana; the status page links to it.";
    WEB_CONFIG_FILE / web_config_file: String, Program, in_demo true,
        None, "/etc/sonorancad-exporter/web.yml",
        "A file with TLS, users and headers, in the format of every Prometheus exporter.";
    LOG / log: String, Program, in_demo true,
        Some("info"), "info,hyper=warn",
        "The log level (error, warn, info, debug, trace, off), with levels for single modules if you like.";
    LOG_FORMAT / log_format: String, Program, in_demo true,
        Some("text"), "json",
        "The format of the log, which goes to standard error: `text` or `json`.";
}

impl RawConfig {
    /// The texts of these variables, by their full names, each of which exists.
    pub(super) fn new(texts: BTreeMap<String, String>) -> Self {
        envy::prefixed(PREFIX)
            .from_iter(texts)
            .expect("every name is a field of `RawConfig`, and any text is valid for each")
    }
}

/// The variables that can be set for one community.
pub(super) fn community_variables() -> impl Iterator<Item = &'static Variable> {
    VARIABLES
        .iter()
        .copied()
        .filter(|variable| variable.scope != Scope::Program)
}

/// The section of `--help` that lists every variable.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Environment:\n");
    for variable in VARIABLES {
        let default = variable
            .default
            .map_or(String::new(), |default| format!(" [default: {default}]"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}{default}\n          {}", variable.name(), variable.help);
    }
    text.push_str("\nAn empty variable counts as not set. Durations look like 25s or 2m.");
    text
}

/// The section of `demo --help` that lists the variables that a demo obeys.
#[must_use]
pub fn demo_help() -> String {
    let names = VARIABLES.iter().filter(|variable| variable.in_demo);
    let names: Vec<_> = names.map(|variable| variable.name()).collect();
    format!(
        "Environment: of the variables that `--help` of the program lists, a demo obeys these, and ignores the others with a \
         warning:\n  {}",
        names.join("\n  ")
    )
}

/// Whether a demo ignores this variable although it is meant for the program, right or misspelt.
#[must_use]
pub fn is_ignored_in_demo(name: &str, text: &str) -> bool {
    name.starts_with(PREFIX)
        && text::value(text) != Ok(None)
        && match classify(name, text) {
            Name::Known(variable) => !variable.in_demo,
            Name::KubernetesLink => false,
            Name::Unknown { .. } => true,
        }
}

/// What this program makes of a name in the environment.
pub(super) enum Name {
    Known(&'static Variable),
    /// Kubernetes sets such variables in every container for each Service of its namespace; a Service
    /// called `sonorancad-exporter` makes them begin with our prefix.
    KubernetesLink,
    Unknown {
        nearest: Option<&'static Variable>,
    },
}

/// Classifies the variable `name`, which has the value `text`.
pub(super) fn classify(name: &str, text: &str) -> Name {
    if let Some(variable) = VARIABLES.iter().find(|variable| variable.name() == name) {
        return Name::Known(variable);
    }
    if is_kubernetes_link(name, text) {
        return Name::KubernetesLink;
    }
    Name::Unknown {
        nearest: nearest(name.trim_start_matches(PREFIX), VARIABLES.iter().copied()),
    }
}

/// The one of `variables` that `short` is most likely a typo of.
pub(super) fn nearest(short: &str, variables: impl Iterator<Item = &'static Variable>) -> Option<&'static Variable> {
    let candidates = variables.map(|variable| (variable.short, variable));
    spelling::nearest(&short.to_uppercase(), candidates)
}

/// The shapes of <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_kubernetes_link(name: &str, text: &str) -> bool {
    let is_port =
        |number: &str, protocol: &str| number.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP");
    match name.split('_').collect::<Vec<_>>()[..] {
        [.., "SERVICE", "HOST" | "PORT"] => true,
        [.., "PORT", number, protocol] if is_port(number, protocol) => true,
        [.., "PORT", number, protocol, "PROTO" | "PORT" | "ADDR"] if is_port(number, protocol) => true,
        [.., "PORT"] => text.contains("://"),
        _ => name.contains("_SERVICE_PORT_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_kubernetes_service_are_recognised() {
        for (name, text) in [
            ("SONORANCAD_EXPORTER_SERVICE_HOST", "10.0.0.1"),
            ("SONORANCAD_EXPORTER_SERVICE_PORT", "10911"),
            ("SONORANCAD_EXPORTER_SERVICE_PORT_METRICS", "10911"),
            ("SONORANCAD_EXPORTER_PORT", "tcp://10.0.0.1:10911"),
            ("SONORANCAD_EXPORTER_PORT_10911_TCP", "tcp://10.0.0.1:10911"),
            ("SONORANCAD_EXPORTER_PORT_10911_TCP_PROTO", "tcp"),
            ("SONORANCAD_EXPORTER_PORT_10911_TCP_PORT", "10911"),
            ("SONORANCAD_EXPORTER_PORT_10911_TCP_ADDR", "10.0.0.1"),
            ("SONORANCAD_SERVICE_HOST", "10.0.0.1"),
            ("SONORANCAD_PORT", "tcp://10.0.0.1:10911"),
            ("SONORANCAD_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ] {
            assert!(matches!(classify(name, text), Name::KubernetesLink), "{name}");
        }
    }

    #[test]
    fn the_key_of_a_variable_is_its_name_in_small_letters() {
        for variable in VARIABLES {
            assert_eq!(variable.key, variable.short.to_ascii_lowercase());
        }
    }

    #[test]
    fn other_names_are_unknown_and_the_nearest_one_is_named() {
        for (name, text, nearest) in [
            ("SONORANCAD_APIKEY", "x", "API_KEY"),
            ("SONORANCAD_API_KEYFILE", "x", "API_KEY_FILE"),
            ("SONORANCAD_SERVER_ID", "1", "SERVER_IDS"),
            ("SONORANCAD_TTL", "1s", "CACHE_TTL"),
            ("SONORANCAD_LISTEN_PORT", "10911", "LISTEN_ADDRESS"),
            ("SONORANCAD_log_format", "json", "LOG_FORMAT"),
        ] {
            let Name::Unknown { nearest: found } = classify(name, text) else {
                panic!("{name} is not unknown");
            };
            assert_eq!(found.map(|variable| variable.short), Some(nearest), "{name}");
        }
        for name in ["SONORANCAD_FOO", "SONORANCAD_URL_PORT_80_HTTP", "SONORANCAD_"] {
            assert!(matches!(classify(name, "x"), Name::Unknown { nearest: None }), "{name}");
        }
    }
}
