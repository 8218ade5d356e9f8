//! One function per kind of value: it turns a text into its meaning, or says why that is impossible.
//!
//! No message quotes the text: it may be a misplaced secret.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use enum_map::EnumMap;
use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::filter::{LevelFilter, Targets};
use url::{Host, ParseError, Url};
use zeroize::Zeroizing;

use super::problem::Reason;
use super::{ApiEndpoint, ApiVersion, LogFormat, ServerConfig, variable};
use crate::files::WatchedFiles;
use crate::label::{OTHER, TextSet};
use crate::text;

/// The largest key file, in bytes.
const MAX_KEY_BYTES: u64 = 4 << 10;

/// The most texts that become values of one label: each is a time series for every server.
const MAX_LABEL_TEXTS: usize = 50;

/// The longest of them, in characters.
const MAX_LABEL_LENGTH: usize = 64;

/// What is wrong with a value before a comment. Compose removes comments; `docker run --env-file` and systemd do not.
pub(super) const BEFORE_COMMENT: &str =
    "is followed by a comment, which became part of it; move the comment to a line of its own";

/// `SONORANCAD_API_VERSION`; `None` for `auto`.
pub(super) fn api_version(text: &str) -> Result<Option<ApiVersion>, String> {
    let text = text.to_ascii_lowercase();
    let fixed = ApiVersion::ALL.iter().find(|version| version.label() == text);
    match fixed {
        Some(version) => Ok(Some(*version)),
        None if text == "auto" => Ok(None),
        None => Err("must be auto, v1 or v2".to_owned()),
    }
}

/// What is read besides calls.
pub(super) fn collects_units(text: &str) -> Result<bool, String> {
    let mut collected: EnumMap<ApiEndpoint, bool> = EnumMap::default();
    for item in text.split(',').map(str::trim) {
        let endpoint = ApiEndpoint::ALL.iter();
        let endpoint = endpoint
            .copied()
            .find(|endpoint| endpoint.label().eq_ignore_ascii_case(item));
        match endpoint {
            Some(endpoint) if !collected[endpoint] => collected[endpoint] = true,
            Some(endpoint) => return Err(format!("lists {} twice", endpoint.label())),
            None => return Err("must be calls, or calls,units".to_owned()),
        }
    }
    if collected[ApiEndpoint::Calls] {
        Ok(collected[ApiEndpoint::Units])
    } else {
        Err("must contain calls".to_owned())
    }
}

/// Texts that become values of a label.
pub(super) fn label_texts(text: &str) -> Result<TextSet, String> {
    let texts: Vec<_> = text.split(',').map(str::trim).collect();
    if texts.len() > MAX_LABEL_TEXTS {
        return Err(format!("lists more than {MAX_LABEL_TEXTS}"));
    }
    let mut known = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("contains an empty item, or one with control characters".to_owned());
        }
        if text.chars().count() > MAX_LABEL_LENGTH {
            return Err(format!("contains an item of more than {MAX_LABEL_LENGTH} characters"));
        }
        if text.eq_ignore_ascii_case(OTHER) {
            return Err(format!(
                "contains {OTHER}, which stands for everything that is not listed"
            ));
        }
        if !known.insert(text.to_lowercase()) {
            return Err(format!(
                "contains an item twice, the second time as number {}",
                index + 1
            ));
        }
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

pub(super) fn community_id(text: &str) -> Result<String, String> {
    // Those that web pages put between words, and marks of direction.
    let is_invisible = |char: char| matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    if text.chars().any(|char| char.is_control() || is_invisible(char)) {
        return Err("contains an invisible character; type it instead of copying it".to_owned());
    }
    Ok(text.to_owned())
}

/// The key travels in a header (v2), so it must be visible ASCII. What is odd about another one is said, since the
/// API would only answer that it is wrong.
pub(super) fn key(key: &SecretString) -> Result<SecretString, String> {
    let text = key.expose_secret();
    let oddity = if text::is_assignment(text) {
        "is of the form NAME=value; keep only what follows the equals sign"
    } else if text::has_stray_quote(text) {
        "begins or ends with a quote, which no key does; copy the key again, without it"
    } else if text.contains(" #") {
        BEFORE_COMMENT
    } else if text.contains(char::is_whitespace) {
        "contains white space or line breaks, which no key does; copy the key again"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains characters that no key has, perhaps invisible ones; copy the key again"
    } else {
        return Ok(key.clone());
    };
    Err(oddity.to_owned())
}

/// What is odd about a key that could be right, with what to do about it.
pub(super) fn doubt_about_key(key: &str, community_id: &str) -> Option<&'static str> {
    let letters = key.to_ascii_lowercase();
    let is_placeholder = key.contains("...")
        || key.starts_with('<') && key.ends_with('>')
        || letters == "changeme"
        || ["your", "api_key", "api-key"].iter().any(|part| letters.contains(part));
    if key == community_id {
        Some(
            "the configured key is the same as the community's id: copy the key from the CAD, under Admin > Advanced > In-Game Integration > Web API",
        )
    } else if key.starts_with(['/', '.', '~']) {
        Some("the configured key looks like the path of a file: set it as SONORANCAD_API_KEY_FILE")
    } else if key.starts_with('$') || key.contains("${") || key.contains("{{") {
        Some("the configured key looks like a variable that was not replaced by its value")
    } else if is_placeholder {
        Some(
            "the configured key looks like a placeholder: copy the key from the CAD, under Admin > Advanced > In-Game Integration > Web API",
        )
    } else if key.bytes().all(|byte| byte == b'*') {
        Some("the configured key consists of asterisks: show it in the CAD before you copy it")
    } else if key.ends_with('%') {
        Some("the configured key ends with `%`, which some shells add to what they show: remove it")
    } else {
        None
    }
}

/// Reads the key from a file.
pub(super) fn key_file(path: &Path, files: &mut WatchedFiles) -> Result<SecretString, String> {
    let content = secret_file(path, MAX_KEY_BYTES, files)?;
    match text::value(&content) {
        Ok(Some(text)) => key(&text.into()),
        Ok(None) => return Err("names a file that is empty".to_owned()),
        Err(oddity) => Err(oddity.to_string()),
    }
    .map_err(|reason| format!("names a file whose key {reason}"))
}

/// The address of a Valkey or Redis server, in the form in which the client takes it.
pub(super) fn shared_state_url(url: &SecretString) -> Result<SecretString, String> {
    let refuse = |reason: &str| Err(reason.to_owned());
    let Ok(parsed) = Url::parse(url.expose_secret()) else {
        return refuse("is not an address; it begins with redis://, rediss:// or unix:");
    };
    // `#insecure` would switch the check of certificates off.
    if parsed.fragment().is_some() {
        return refuse("contains `#`; in a password it is written %23");
    }
    match parsed.scheme() {
        "redis" | "rediss" if parsed.host_str().unwrap_or_default().is_empty() => refuse("names no host"),
        "redis" | "rediss" if parsed.port() == Some(0) => refuse("has port 0"),
        "redis" | "rediss" if parsed.query().is_some() => refuse("contains `?`; in a password it is written %3F"),
        "redis" | "rediss" => match parsed.path().trim_start_matches('/') {
            "" => Ok(url.clone()),
            database if database.parse::<u16>().is_ok() => Ok(url.clone()),
            _ => refuse("must have nothing but the number of a database after the host, as in redis://localhost/1"),
        },
        "unix" if parsed.path().starts_with('/') && parsed.path().len() > 1 => Ok(url.clone()),
        "unix" => refuse("must name the path of a socket, as in unix:/run/redis/redis.sock"),
        _ => refuse("must begin with redis://, rediss:// or unix:"),
    }
}

/// Reads that address from a file.
pub(super) fn shared_state_url_file(path: &Path, files: &mut WatchedFiles) -> Result<SecretString, String> {
    let content = secret_file(path, MAX_KEY_BYTES, files)?;
    match text::value(&content) {
        Ok(Some(text)) => shared_state_url(&text.into()),
        Ok(None) => return Err("names a file that is empty".to_owned()),
        Err(oddity) => Err(oddity.to_string()),
    }
    .map_err(|reason| format!("names a file whose address {reason}"))
}

/// The text of a file that contains secrets.
pub(super) fn secret_file(path: &Path, max_bytes: u64, files: &mut WatchedFiles) -> Result<Zeroizing<String>, String> {
    let text = files.read(path, max_bytes);
    text.map_err(|error| format!("cannot be read: {error}"))
}

pub(super) fn servers(text: &str) -> Result<Vec<ServerConfig>, String> {
    let mut servers: Vec<ServerConfig> = Vec::new();
    for item in text.split(',') {
        let (id, name) = match item.split_once('=') {
            Some((id, name)) => (id, Some(name.trim())),
            None => (item, None),
        };
        let id = match id.trim().parse() {
            Ok(id) if id >= 1 => id,
            _ => return Err("must list server ids: whole numbers from 1, separated by commas".to_owned()),
        };
        if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
            return Err(format!(
                "gives server {id} an empty name, or one with control characters"
            ));
        }
        if servers.iter().any(|server| server.id == id) {
            return Err(format!("lists server {id} twice"));
        }
        servers.push(ServerConfig {
            id,
            name: name.map(str::to_owned),
        });
    }
    Ok(servers)
}

/// Plain HTTP shows the key to the network, so it goes to this machine only, unless allowed.
pub(super) fn api_url(text: &str, allow_http: bool) -> Result<Url, Reason> {
    let mut url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => "must begin with https://".to_owned(),
        error => format!("is not an address: {error}"),
    })?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a user, a password, a query or a fragment".into());
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_http || is_loopback(&url) => {}
        "http" => {
            return Err(Reason::from("would send the key in plain text; use https://, or set ")
                .variable(&variable::ALLOW_HTTP)
                .text("=true"));
        }
        _ => return Err("must begin with https://".into()),
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// The address of this exporter behind a reverse proxy; its path is what the proxy puts before all paths.
pub(super) fn external_url(text: &str) -> Result<Url, String> {
    let url = web_address(text)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a user, a password, a query or a fragment".to_owned());
    }
    Ok(url)
}

/// The address of dashboards; the status page links to it, so it must contain nothing secret.
pub(super) fn dashboard_url(text: &str) -> Result<Url, String> {
    let url = web_address(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or a password: everyone who sees the status page sees it".to_owned());
    }
    Ok(url)
}

fn web_address(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) | Err(ParseError::RelativeUrlWithoutBase) => Err("must begin with http:// or https://".to_owned()),
        Err(error) => Err(format!("is not an address: {error}")),
    }
}

/// Whether `url` is an address of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), Duration::from_secs(60))
}

pub(super) fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), Duration::from_secs(3600))
}

fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
    if !(least..=most).contains(&duration) {
        return Err(format!(
            "must be from {} to {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        ));
    }
    Ok(duration)
}

pub(super) fn requests_per_minute(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=60) => Ok(number),
        _ => Err("must be a whole number from 1 to 60".to_owned()),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    // Python and Helm write `True`.
    let text = text.to_ascii_lowercase();
    text.parse().map_err(|_| "must be true or false".to_owned())
}

pub(super) fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for text in text.split(',').map(str::trim) {
        let address = listen_address(text)?;
        // The system would say that the port is in use, as if by another program.
        if addresses
            .iter()
            .any(|other| is_taken_by(address, *other) || is_taken_by(*other, address))
        {
            return Err(
                "lists an address twice: `:10911` and `[::]:10911` mean all addresses, and `0.0.0.0:10911` all of IPv4"
                    .to_owned(),
            );
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Whether a socket at `other` gets what is sent to `address`.
fn is_taken_by(address: SocketAddr, other: SocketAddr) -> bool {
    let is_covered = match other.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.is_ipv4(),
        ip => ip == address.ip(),
    };
    // At port 0, the system chooses another port for each.
    is_covered && address.port() == other.port() && address.port() != 0
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let reason = "must be an IP address or localhost with a port, or a colon and a port";
    let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:")) else {
        return text.parse().map_err(|_| reason.to_owned());
    };
    let port = port.parse().map_err(|_| reason.to_owned())?;
    let address: IpAddr = if text.starts_with(':') {
        // All addresses of both families.
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    Ok(SocketAddr::new(address, port))
}

/// A single word must be a level: the parser would take any other for a module, and silence everything else.
pub(super) fn log_filter(text: &str) -> Result<Targets, String> {
    let is_directive = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    text.parse()
        .ok()
        .filter(|_| text.split(',').all(is_directive))
        .ok_or_else(|| "must be a level (error, warn, info, debug, trace, off), or `module=level` pairs".to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match &*text.to_ascii_lowercase() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".to_owned()),
    }
}
