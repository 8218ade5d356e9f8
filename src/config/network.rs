//! How the API is reached: the variables for proxies and CA certificates that all programs share.
//!
//! Those of curl and Go are read as they do. What they would ignore is a problem here: a proxy that cannot be used must
//! not let the key go out past it. No message contains a text of theirs, which may be a password.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::problem::Problems;
use crate::files::WatchedFiles;
use crate::secret_file::read_bytes;
use crate::text::{self, Oddity};

/// Proxies by what they serve; of two names, the first that is set counts, as in Go.
const HTTPS_PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const HTTP_PROXY: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
const CERT_FILE: &str = "SSL_CERT_FILE";
const CERT_DIR: &str = "SSL_CERT_DIR";

/// The largest file of certificates that is read. Those of distributions have a few hundred KiB.
const MAX_CERTIFICATE_BYTES: u64 = 16 << 20;

/// The shared variables, cleaned: `None` where one is empty, which counts as not set; or what is odd about their texts.
pub(super) type Shared = BTreeMap<&'static str, Result<Option<String>, Oddity>>;

/// How the API is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    secure_proxy: Option<Proxy>,
    plain_proxy: Option<Proxy>,
    exceptions: Vec<Exception>,
    /// The certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR`, at least one; `None` if neither is set, so that those of
    /// this machine count.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
}

/// A proxy that can be used.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
}

/// One entry of `NO_PROXY`: what is reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    Domain {
        /// With a leading dot.
        suffix: String,
        /// Whether the domain itself is meant too, not only names below it.
        is_included: bool,
        port: Option<u16>,
    },
}

/// What of the network the communities need.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) secure_proxy: bool,
    pub(super) plain_proxy: bool,
    pub(super) certificates: bool,
}

/// The shared variable of this name, if there is one.
pub(super) fn shared_name(name: &str) -> Option<&'static str> {
    let proxies = HTTPS_PROXY.into_iter().chain(HTTP_PROXY).chain(NO_PROXY);
    proxies.chain([CERT_FILE, CERT_DIR]).find(|known| *known == name)
}

/// Reads what is needed. Variables that have no effect may be wrong.
pub(super) fn read(shared: &Shared, needs: Needs, files: &mut WatchedFiles, problems: &mut Problems) -> Network {
    let mut read = Reader { shared, problems };
    let secure_proxy = needs.secure_proxy.then(|| read.first(&HTTPS_PROXY, proxy)).flatten();
    let plain_proxy = needs.plain_proxy.then(|| read.first(&HTTP_PROXY, proxy)).flatten();
    let has_proxy = secure_proxy.is_some() || plain_proxy.is_some();
    let exceptions = has_proxy.then(|| read.first(&NO_PROXY, exceptions)).flatten();
    let authorities = needs.certificates.then(|| {
        let file = read.first(&[CERT_FILE], |path| certificates(Path::new(path), files));
        let folders = read.first(&[CERT_DIR], |folders| certificates_in_folders(folders, files));
        if file.is_none() && folders.is_none() {
            // The TLS library would look for certificates at the empty path.
            let is_emptied = [CERT_FILE, CERT_DIR]
                .iter()
                .any(|name| shared.get(name) == Some(&Ok(None)));
            return is_emptied
                .then(certificates_of_machine)
                .filter(|found| !found.is_empty());
        }
        Some([file, folders].into_iter().flatten().flatten().collect())
    });
    Network {
        secure_proxy,
        plain_proxy,
        exceptions: exceptions.unwrap_or_default(),
        authorities: authorities.flatten(),
    }
}

struct Reader<'a> {
    shared: &'a Shared,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Reads the first of these variables that is set.
    fn first<T>(&mut self, names: &[&'static str], parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (name, text) = names
            .iter()
            .find_map(|name| Some((name, self.shared.get(name)?.as_ref().map(Option::as_deref).transpose()?)))?;
        let outcome = text.map_err(ToString::to_string).and_then(parse);
        outcome
            .map_err(|reason| self.problems.report_other((*name).to_owned(), reason))
            .ok()
    }
}

impl Network {
    /// The proxy through which a request to `url` goes. Addresses of this machine and those that `NO_PROXY` names are
    /// reached without one.
    #[must_use]
    pub fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "https" => self.secure_proxy.as_ref(),
            _ => self.plain_proxy.as_ref(),
        }?;
        let is_direct = super::value::is_loopback(url) || self.exceptions.iter().any(|exception| exception.covers(url));
        (!is_direct).then_some(proxy)
    }

    /// The proxies.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.secure_proxy.iter().chain(&self.plain_proxy)
    }
}

impl Proxy {
    /// Its address, with user and password.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Host and port, which are all that may be shown.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        write!(f, "{host}:{port}")
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Reads a proxy as curl and Go do: `http://` may be left out.
fn proxy(text: &str) -> Result<Proxy, String> {
    let refuse = |reason: &str| Err(format!("{reason}; for example: http://proxy.example.org:3128"));
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return refuse("contains white space or control characters");
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = scheme.to_ascii_lowercase();
    match &*scheme {
        "http" | "https" => {}
        socks if socks.starts_with("socks") => return refuse("is a SOCKS proxy, which is not supported"),
        _ => return refuse("must begin with http:// or https://"),
    }
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    // The parser would take the start of such a password for the host.
    if !matches!(path, "" | "/") {
        return refuse(
            "contains `/`, `\\`, `?` or `#` after the host, or in the password, where they are written %2F, %5C, %3F, %23",
        );
    }
    if authority.matches('@').count() > 1 {
        return refuse("contains `@` in the user or the password, where it is written %40");
    }
    if has_broken_escape(authority) {
        return refuse("contains a `%` that begins no escape; in a password it is written %25");
    }
    let url = match Url::parse(&format!("{scheme}://{authority}")) {
        Ok(url) if url.port() == Some(0) => return refuse("has port 0"),
        Ok(url) => url,
        Err(url::ParseError::InvalidPort) => return refuse("has a port that is not a number from 1 to 65535"),
        Err(url::ParseError::EmptyHost) => return refuse("names no host"),
        Err(error) => return refuse(&format!("is not an address: {error}")),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match url.host() {
        // The HTTP client reads the address anew. It would ignore a proxy with such a name.
        Some(Host::Domain(name)) if !name.bytes().all(is_name) => refuse("names a host with impossible characters"),
        _ => Ok(Proxy { url }),
    }
}

/// Whether any `%` is not followed by two hexadecimal digits.
fn has_broken_escape(text: &str) -> bool {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    !text.split('%').skip(1).all(is_escape)
}

/// Reads the entries of `NO_PROXY`, separated by commas or white space.
fn exceptions(text: &str) -> Result<Vec<Exception>, String> {
    let entries = text.split(|char: char| char == ',' || char.is_whitespace());
    let entries = entries.filter(|entry| !entry.is_empty());
    let entries = entries.enumerate().map(|(index, entry)| {
        exception(entry).ok_or_else(|| {
            format!(
                "entry {} cannot be read; each is `*`, a domain, an address or a network, such as \
                 .example.org,api.example.org:443,10.0.0.0/8",
                index + 1
            )
        })
    });
    entries.collect()
}

fn exception(text: &str) -> Option<Exception> {
    if text == "*" {
        return Some(Exception::Everything);
    }
    if text.contains('/') {
        return text.parse().ok().map(Exception::Network);
    }
    if let Ok(address) = text.parse() {
        return Some(Exception::Address(address, None));
    }
    // A colon that is not within brackets begins a port.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        _ => (text, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Ok(address) = address.unwrap_or(host).parse() {
        return Some(Exception::Address(address, port));
    }
    // `*.` means names below the domain only, as in Go; a leading dot means the domain too, as in curl.
    let (host, is_included) = match host.strip_prefix("*.") {
        Some(host) => (host, false),
        None => (host.strip_prefix('.').unwrap_or(host), true),
    };
    match Host::parse(host.trim_end_matches('.')) {
        Ok(Host::Domain(name)) if !name.contains('*') => Some(Exception::Domain {
            suffix: format!(".{name}"),
            is_included,
            port,
        }),
        _ => None,
    }
}

impl Exception {
    fn covers(&self, url: &Url) -> bool {
        let has_port = |port: &Option<u16>| port.is_none() || *port == url.port_or_known_default();
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        match self {
            Self::Everything => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(exception, port) => address == Some(*exception) && has_port(port),
            Self::Domain {
                suffix,
                is_included,
                port,
            } => {
                let name = url.domain().unwrap_or_default().trim_end_matches('.');
                (name.ends_with(suffix) || *is_included && name == &suffix[1..]) && has_port(port)
            }
        }
    }
}

/// The certificates of a file, at least one.
fn certificates(path: &Path, files: &mut WatchedFiles) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = files.read_bytes(path, MAX_CERTIFICATE_BYTES);
    let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
    let found = usable_certificates(&bytes);
    if !found.is_empty() {
        return Ok(found);
    }
    Err(match text::decode(bytes) {
        Err(oddity @ (Oddity::Der | Oddity::Utf16)) => oddity.to_string(),
        _ => "contains no certificate in the format PEM that can be used".to_owned(),
    })
}

/// Those of all files in the folders, which are separated by colons. Each folder has at least one.
fn certificates_in_folders(text: &str, files: &mut WatchedFiles) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for (index, folder) in text.split(':').filter(|folder| !folder.is_empty()).enumerate() {
        let position = index + 1;
        files.remember(Path::new(folder));
        let entries = std::fs::read_dir(folder)
            .map_err(|error| format!("names a folder that cannot be read (number {position}): {error}"))?;
        let before = found.len();
        for entry in entries.flatten() {
            // Other files may be there too, and names that lead nowhere.
            if let Ok(bytes) = read_bytes(&entry.path(), MAX_CERTIFICATE_BYTES) {
                found.extend(usable_certificates(&bytes));
            }
        }
        if found.len() == before {
            return Err(format!(
                "names a folder without a certificate in the format PEM (number {position})"
            ));
        }
    }
    // The same one is often there by several names.
    found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    Ok(found)
}

/// The certificates of this machine, as the TLS library finds them without the variables.
fn certificates_of_machine() -> Vec<CertificateDer<'static>> {
    let places = openssl_probe::probe();
    let mut files = WatchedFiles::default();
    let file = places.cert_file.and_then(|path| certificates(&path, &mut files).ok());
    let folders = places.cert_dir.iter().filter_map(|path| path.to_str());
    let folders = folders.filter_map(|path| certificates_in_folders(path, &mut files).ok());
    file.into_iter().chain(folders).flatten().collect()
}

fn usable_certificates(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    // The parser would ignore the line of a byte order mark, and so the certificate that it begins.
    CertificateDer::pem_slice_iter(text::without_mark(bytes))
        .flatten()
        .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_proxy_is_read_as_curl_and_go_do() {
        for (text, address, user) in [
            ("http://proxy.example:3128", "proxy.example:3128", ""),
            ("proxy.example:3128", "proxy.example:3128", ""),
            ("proxy", "proxy:80", ""),
            ("http://proxy.example:3128/", "proxy.example:3128", ""),
            ("HTTPS://proxy.example", "proxy.example:443", ""),
            ("http://user:p%40ss%2F@10.0.0.1:1", "10.0.0.1:1", "user"),
            ("user:pw@[2001:db8::1]:3128", "[2001:db8::1]:3128", "user"),
            ("http://a_b.example:1", "a_b.example:1", ""),
        ] {
            let proxy = proxy(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(proxy.to_string(), address, "{text}");
            assert_eq!(proxy.url().username(), user, "{text}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_with_a_reason_that_does_not_show_it() {
        for (text, reason) in [
            (
                "http://user:SECRET@proxy.example:port",
                "has a port that is not a number",
            ),
            (
                "http://user:SECRET@proxy.example:99999",
                "has a port that is not a number",
            ),
            ("http://user:SECRET@proxy.example:0", "has port 0"),
            ("http://user:SE#CRET/wd@proxy.example:3128", "written %2F"),
            ("http://user:SECRET/1@proxy.example:3128", "written %2F"),
            ("http://user:12/SECRET@proxy.example:3128", "written %2F"),
            ("http://user:SEC\\RET@proxy.example:3128", "written %2F"),
            ("http://user:SEC?RET@proxy.example:3128", "written %2F"),
            ("http://user:SEC@RET@proxy.example:3128", "written %40"),
            ("http://user:100%SECRET@proxy.example:3128", "written %25"),
            ("http://user:SECRET@proxy.example:3128/path", "written %2F"),
            ("http://user:SEC RET@proxy.example:3128", "contains white space"),
            ("http://user:SEC\tRET@proxy.example:3128", "contains white space"),
            ("http://user:SECRET@", "names no host"),
            ("http://:3128", "names no host"),
            ("http://", "names no host"),
            ("http://\"SECRET\":3128", "impossible characters"),
            ("http://{SECRET}:3128", "impossible characters"),
            ("socks5h://user:SECRET@proxy.example", "is a SOCKS proxy"),
            ("ftp://user:SECRET@proxy.example", "must begin with http://"),
        ] {
            let error = proxy(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
            for part in ["SECRET", "SEC", "RET", "user:"] {
                assert!(!error.contains(part), "{text}: {error}");
            }
        }
    }

    /// The HTTP client reads the proxy's address with another parser, and would ignore what that refuses.
    #[test]
    fn whatever_is_accepted_can_be_read_by_the_client() {
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet: Vec<_> = "aZ09-._~%4:@/?#[]!$&'()*+,;=\"<>\\^`{|} ü".chars().collect();
        let mut accepted = 0;
        for _ in 0..200_000 {
            let length = random.usize(1..12);
            let text: String = (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            if let Ok(proxy) = proxy(&text) {
                accepted += 1;
                let uri: axum::http::Uri = proxy
                    .url()
                    .as_str()
                    .parse()
                    .unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(uri.host(), proxy.url().host_str(), "{text}");
            }
        }
        assert!(accepted > 1000, "{accepted}");
    }

    #[track_caller]
    fn assert_direct(no_proxy: &str, address: &str, is_direct: bool) {
        let network = Network {
            secure_proxy: proxy("proxy:1").ok(),
            plain_proxy: proxy("other:2").ok(),
            exceptions: exceptions(no_proxy).unwrap(),
            authorities: None,
        };
        let found = network.proxy_for(&url(address)).is_none();
        assert_eq!(found, is_direct, "NO_PROXY={no_proxy} {address}");
    }

    #[test]
    fn exceptions_are_read_as_curl_and_go_do() {
        for (no_proxy, address, is_direct) in [
            ("", "https://api.example.com", false),
            ("*", "https://api.example.com", true),
            ("a.example,*", "https://api.example.com", true),
            ("example.com", "https://api.example.com", true),
            ("example.com", "https://example.com", true),
            ("example.com", "https://notexample.com", false),
            ("EXAMPLE.com.", "https://API.example.com", true),
            (".example.com", "https://api.example.com", true),
            (".example.com", "https://example.com", true),
            ("*.example.com", "https://api.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com:443", "https://api.example.com", true),
            ("api.example.com:443", "https://api.example.com", true),
            ("api.example.com:443", "https://api.example.com:8443", false),
            ("api.example.com:80", "http://api.example.com", true),
            ("a.example api.example.com", "https://api.example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.1/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.0.0.0/8", "https://api.example.com", false),
            ("2001:db8::/32", "https://[2001:db8::1]", true),
            ("10.1.2.3", "https://10.1.2.3", true),
            ("10.1.2.3:443", "https://10.1.2.3:444", false),
            ("2001:db8::1", "https://[2001:db8::1]", true),
            ("[2001:db8::1]", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]:1", false),
            // Go's rule: this machine is never reached through a proxy.
            ("", "http://localhost:1", true),
            ("", "http://127.1.2.3", true),
            ("", "http://[::1]:1", true),
        ] {
            assert_direct(no_proxy, address, is_direct);
        }
    }

    #[test]
    fn an_exception_that_cannot_be_read_is_refused() {
        for text in [
            "http://example.com",
            "10.0.0.0/99",
            "example.com:https",
            "example.com:0",
            "foo.*",
            "*foo",
            "a\u{0}b",
            "*.",
        ] {
            let error = exceptions(&format!("good.example,{text}")).expect_err(text);
            assert!(error.starts_with("entry 2 cannot be read"), "{text}: {error}");
        }
    }
}
