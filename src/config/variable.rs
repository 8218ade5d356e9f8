//! The table of every variable: the one list of names, defaults and examples.

use std::fmt::Write as _;

use crate::spelling::most_alike;

/// What every variable's name starts with.
pub(super) const PREFIX: &str = "SONORANCAD_";

/// One setting that a user can make.
#[derive(Debug)]
pub struct Variable {
    /// The name without the prefix: `API_KEY`.
    pub(super) short: &'static str,
    /// The text that holds where the user gives none.
    pub default: Option<&'static str>,
    /// A value that works, for messages.
    pub(super) example: &'static str,
    /// One sentence for `--help`.
    pub help: &'static str,
}

impl Variable {
    /// The name as the file of communities spells it: `api_key`.
    pub(super) fn key(&self) -> String {
        self.short.to_ascii_lowercase()
    }

    /// The name as the environment spells it: `SONORANCAD_API_KEY`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.short)
    }
}

macro_rules! variables {
    ($($short:ident = $default:expr, $example:literal, $help:literal;)*) => {
        $(pub(super) static $short: Variable = Variable {
            short: stringify!($short), default: $default, example: $example, help: $help,
        };)*
        /// Every variable, in the order of the documentation.
        pub static VARIABLES: &[&Variable] = &[$(&$short),*];
    };
}

variables! {
    COMMUNITY_ID = None, "mycommunity",
        "The community's id. Needed for API version v1.";
    API_KEY = None, "0f8a...",
        "The community's API key.";
    API_KEY_FILE = None, "/run/secrets/sonorancad_api_key",
        "A file that holds the API key, instead of the variable above.";
    SERVER_IDS = Some("1"), "1=Main,2=Events",
        "The CAD servers to read, with a name if you like: `1=Main,2=Events`.";
    API_VERSION = Some("v1"), "v2",
        "The version of the API: `v1` or `v2`.";
    API_URL = Some("https://api.sonorancad.com"), "https://api.sonorancad.com",
        "Where the API is.";
    API_TIMEOUT = Some("8s"), "8s",
        "The longest wait for one answer of the API (100ms to 1m).";
    CACHE_TTL = Some("25s"), "25s",
        "How long an answer counts as fresh (1s to 1h); the budget can make it longer.";
    MAX_STALE = Some("2m"), "2m",
        "How old call data may get before it is left out (1s to 1h); at least twice the TTL in force.";
    REQUESTS_PER_MINUTE = None, "4",
        "The budget of API requests per minute, for all servers (1 to 60). Default: 5 less the number of servers, at least 1.";
    ALLOW_HTTP = Some("false"), "true",
        "Whether the API may be asked over plain HTTP on other machines than this one.";
    COMMUNITIES_FILE = None, "/etc/sonorancad-exporter/communities.yml",
        "A file of several communities, each served at `/probe?community=<alias>`.";
    LISTEN_ADDRESS = Some("0.0.0.0:10911"), "0.0.0.0:10911",
        "The addresses to serve on, separated by commas; `:10911` for all of this machine's IPv4 addresses, `[::]:10911` for those of IPv6 too.";
    SYSTEMD_SOCKET = Some("false"), "true",
        "Whether to serve the sockets that systemd hands over, instead of addresses.";
    WEB_CONFIG_FILE = None, "/etc/sonorancad-exporter/web.yml",
        "A file with TLS, users and headers, in the format of every Prometheus exporter.";
    LOG = Some("info"), "info,hyper=warn",
        "What is logged: a level (error, warn, info, debug, trace, off), and levels per module if you like.";
    LOG_FORMAT = Some("text"), "json",
        "How it is logged, to standard error: `text` or `json`.";
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

/// What a name in the environment is to this program.
pub(super) enum Name {
    Known,
    /// Kubernetes gives every container such variables for each Service of its namespace; a Service
    /// called `sonorancad-exporter` makes them begin with our prefix.
    KubernetesLink,
    Unknown {
        nearest: &'static Variable,
    },
}

/// Tells what `name`, with its `text`, is.
pub(super) fn classify(name: &str, text: &str) -> Name {
    if VARIABLES.iter().any(|variable| variable.name() == name) {
        return Name::Known;
    }
    if is_kubernetes_link(name, text) {
        return Name::KubernetesLink;
    }
    Name::Unknown {
        nearest: nearest(name.trim_start_matches(PREFIX), VARIABLES),
    }
}

/// The one of `variables` whose name without the prefix is most like `short`.
pub(super) fn nearest(short: &str, variables: &[&'static Variable]) -> &'static Variable {
    let candidates = variables.iter().map(|variable| (variable.short, *variable));
    most_alike(&short.to_uppercase(), candidates).map_or(&API_KEY, |(_, variable)| variable)
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
    fn other_names_are_unknown_and_the_nearest_one_is_named() {
        for (name, text, nearest) in [
            ("SONORANCAD_APIKEY", "x", "API_KEY"),
            ("SONORANCAD_API_KEYFILE", "x", "API_KEY_FILE"),
            ("SONORANCAD_SERVER_ID", "1", "SERVER_IDS"),
            ("SONORANCAD_TTL", "1s", "CACHE_TTL"),
            ("SONORANCAD_LISTEN_PORT", "10911", "LISTEN_ADDRESS"),
            ("SONORANCAD_URL_PORT_80_HTTP", "80", "ALLOW_HTTP"),
            ("SONORANCAD_log_format", "json", "LOG_FORMAT"),
        ] {
            let Name::Unknown { nearest: found } = classify(name, text) else {
                panic!("{name} is not unknown");
            };
            assert_eq!(found.short, nearest, "{name}");
        }
    }
}
