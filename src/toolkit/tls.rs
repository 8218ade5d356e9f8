//! TLS as the web configuration file asks for it.
//!
//! Sessions are not resumed, so that each connection shows its certificate anew.

mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use self::names::SanVerifier;
use super::findings::Findings;
use crate::files::WatchedFiles;
use crate::text;

/// The largest file that is read: a chain of certificates takes a few KiB.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The curves, by their names in the format.
const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("CurveP256", ring::kx_group::SECP256R1),
    ("CurveP384", ring::kx_group::SECP384R1),
    ("X25519", ring::kx_group::X25519),
];

/// Curves of the format that the TLS library does not have.
const OTHER_CURVES: [&str; 2] = ["CurveP521", "X25519MLKEM768"];

/// The section `tls_server_config`; every key is optional.
#[derive(Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    cert: Option<String>,
    cert_file: Option<PathBuf>,
    key: Option<Zeroizing<String>>,
    key_file: Option<PathBuf>,
    client_ca: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<Spanned<String>>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<Spanned<String>>>,
}

impl TlsSection {
    /// Whether no key is set, which means "no TLS" in this format.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether clients must show a certificate.
    pub(super) fn requires_certificates(&self) -> bool {
        let auth = self.client_auth_type.as_deref();
        auth.is_some_and(|auth| auth.trim() == "RequireAndVerifyClientCert")
    }

    /// Forgets the files that the section names.
    pub(super) fn remove_files(&mut self) {
        (self.cert_file, self.key_file, self.client_ca_file) = (None, None, None);
    }
}

/// A relative path of this length in the alphabet of base64 counts as a line of a key. Those of PEM have 64 characters.
const MIN_BASE64_LINE: usize = 48;

/// Whether a client must show a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    None,
    IfGiven,
    Required,
}

/// The configuration that the section describes; `None` if there are problems. Relative paths start from `folder`.
pub(super) fn server_config(
    section: &TlsSection,
    folder: &Path,
    files: &mut WatchedFiles,
    findings: &mut Findings,
) -> Option<ServerConfig> {
    let mut own = Findings::default();
    let config = build(section, folder, files, &mut own);
    let in_section = |text: String| format!("tls_server_config: {text}");
    findings.problems.extend(own.problems.into_iter().map(in_section));
    findings.warnings.extend(own.warnings.into_iter().map(in_section));
    config
}

fn build(
    section: &TlsSection,
    folder: &Path,
    files: &mut WatchedFiles,
    findings: &mut Findings,
) -> Option<ServerConfig> {
    let versions = versions(section, findings);
    let versions = findings.keep(versions);
    let provider = provider(section, versions.as_deref().unwrap_or_default(), findings);
    let auth = client_auth(section, findings);
    let auth = findings.keep(auth);
    let mut part = |name: &str, text: Option<&str>, file| part(name, text, file, folder, files);
    let inline_key = section.key.as_ref().map(|key| key.as_str());
    let certificates = part("cert", section.cert.as_deref(), section.cert_file.as_ref()).and_then(certificates);
    let certificates = findings.keep(certificates);
    let key = findings.keep(part("key", inline_key, section.key_file.as_ref()).and_then(key));
    let (text, file) = (section.client_ca.as_deref(), section.client_ca_file.as_ref());
    let authorities = findings.keep(part("client_ca", text, file));
    let verifier = auth.zip(authorities).and_then(|(auth, authorities)| {
        let verifier = verifier(section, auth, authorities, &provider, findings);
        findings.keep(verifier)
    });
    let (versions, certificates, key, verifier) = (versions?, certificates?, key?, verifier?);
    if !findings.problems.is_empty() {
        return None;
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(certificates, key)
        });
    let config = config.map_err(|error| format!("certificate and key cannot be used: {error}"));
    findings.keep(config).map(|config| with_defaults(config, section))
}

/// Adds what does not depend on certificates: order of preference, no resumption, HTTP/1.1 only.
fn with_defaults(mut config: ServerConfig, section: &TlsSection) -> ServerConfig {
    config.ignore_client_order = section.prefer_server_cipher_suites.unwrap_or(true);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn versions(section: &TlsSection, findings: &mut Findings) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let read = |key: &str, text: &Option<String>, default: u8| match value(key, text.as_deref())? {
        None => Ok(default),
        Some("TLS10" | "TLS11") => Ok(11),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(_) => Err(format!("{key}: must be TLS12 or TLS13")),
    };
    let min = read("min_version", &section.min_version, 12)?;
    let max = read("max_version", &section.max_version, 13)?;
    if max < 12 {
        return Err("max_version: TLS below 1.2 is not supported, as it is not secure".to_owned());
    }
    if min > max {
        return Err("min_version: is above max_version".to_owned());
    }
    if min < 12 {
        findings.warning("min_version: TLS below 1.2 is not secure and not offered; TLS12 is the minimum in use");
    }
    let known = [(12, &TLS12), (13, &TLS13)];
    let allowed = known.into_iter().filter(|(version, _)| (min..=max).contains(version));
    Ok(allowed.map(|(_, version)| version).collect())
}

/// The cipher suites and curves that are allowed, in order of preference.
fn provider(
    section: &TlsSection,
    versions: &[&SupportedProtocolVersion],
    findings: &mut Findings,
) -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if let Some(names) = section.cipher_suites.as_deref().filter(|names| !names.is_empty()) {
        provider.cipher_suites = cipher_suites(names, versions, findings);
    }
    if let Some(names) = section.curve_preferences.as_deref().filter(|names| !names.is_empty()) {
        provider.kx_groups = curves(names, findings);
    }
    Arc::new(provider)
}

/// Those of TLS 1.3, among which the format cannot choose, and the named ones.
fn cipher_suites(
    names: &[Spanned<String>],
    versions: &[&SupportedProtocolVersion],
    findings: &mut Findings,
) -> Vec<SupportedCipherSuite> {
    let known = ring::ALL_CIPHER_SUITES.iter().map(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        (name.replace("TLS13_", "TLS_"), *suite)
    });
    let known: Vec<_> = known.collect();
    // Nobody is let in by their absence.
    let is_weak = |name: &str| name.starts_with("TLS_RSA_WITH_") || name.ends_with("_CBC_SHA");
    let chosen = items("cipher_suites", names, &known, is_weak, findings);
    let (tls13, tls12): (Vec<_>, Vec<_>) = ring::ALL_CIPHER_SUITES
        .iter()
        .partition(|suite| suite.tls13().is_some());
    let tls12: Vec<_> = chosen.into_iter().filter(|suite| tls12.contains(suite)).collect();
    if tls12.is_empty() && findings.problems.is_empty() && *versions == [&TLS12] {
        findings.problem("cipher_suites: none of them can be used with max_version TLS12");
    }
    [tls13, tls12].concat()
}

/// The named curves.
fn curves(names: &[Spanned<String>], findings: &mut Findings) -> Vec<&'static dyn SupportedKxGroup> {
    let is_other = |name: &str| OTHER_CURVES.contains(&name);
    let groups = items("curve_preferences", names, &CURVES, is_other, findings);
    if groups.is_empty() && findings.problems.is_empty() {
        findings.problem("curve_preferences: none of them is supported; these are: CurveP256, CurveP384, X25519");
    }
    groups
}

/// What the names in the list `key` stand for, in order. An unsupported one is a problem, unless it is one of the format.
fn items<T: Copy>(
    key: &str,
    names: &[Spanned<String>],
    known: &[(impl AsRef<str>, T)],
    is_of_format: impl Fn(&str) -> bool,
    findings: &mut Findings,
) -> Vec<T> {
    let mut found = Vec::new();
    for name in names {
        let line = name.referenced.line();
        match known.iter().find(|(known, _)| known.as_ref() == name.value) {
            Some((_, item)) => found.push(*item),
            None if is_of_format(&name.value) => findings.warning(format!("{key}: line {line}: is not offered")),
            None => {
                let known: Vec<_> = known.iter().map(|(name, _)| name.as_ref()).collect();
                let known = known.join(", ");
                findings.problem(format!("{key}: line {line}: is not supported; these are: {known}"));
            }
        }
    }
    found
}

fn client_auth(section: &TlsSection, findings: &mut Findings) -> Result<ClientAuth, String> {
    let auth = match value("client_auth_type", section.client_auth_type.as_deref())? {
        None | Some("NoClientCert") => ClientAuth::None,
        Some("RequestClientCert") => {
            findings.warning("client_auth_type: RequestClientCert has no effect: it would let in everyone, too");
            ClientAuth::None
        }
        Some("VerifyClientCertIfGiven") => ClientAuth::IfGiven,
        Some("RequireAndVerifyClientCert") => ClientAuth::Required,
        Some("RequireAnyClientCert" | "RequireClientCert") => {
            return Err(
                "client_auth_type: types that do not verify let in everyone; use RequireAndVerifyClientCert".into(),
            );
        }
        Some(_) => {
            let types = "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
            return Err(format!("client_auth_type: must be {types}"));
        }
    };
    match (auth, &section.client_allowed_sans) {
        (ClientAuth::None, Some(_)) => {
            Err("client_allowed_sans: has no effect without client_auth_type RequireAndVerifyClientCert".to_owned())
        }
        (_, Some(sans)) if sans.is_empty() => Err("client_allowed_sans: is empty, so nobody could connect".to_owned()),
        (ClientAuth::IfGiven, Some(_)) => {
            findings.warning(
                "client_allowed_sans: with VerifyClientCertIfGiven, clients without a certificate are let in, whatever \
                 their names; RequireAndVerifyClientCert keeps them out",
            );
            Ok(auth)
        }
        _ => Ok(auth),
    }
}

/// The text of a part that is given inline or as the name of a file.
fn part(
    name: &str,
    text: Option<&str>,
    file: Option<&PathBuf>,
    folder: &Path,
    files: &mut WatchedFiles,
) -> Result<Option<Zeroizing<String>>, String> {
    let file = file.map(|file| file.to_string_lossy());
    let text = value(name, text)?;
    let file = value(&format!("{name}_file"), file.as_deref())?;
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}_file are both set; keep one of them")),
        (Some(text), None) => Ok(Some(text.to_owned().into())),
        (None, Some(file)) if !is_name(file) => Err(format!(
            "{name}_file: contains a key or certificate itself, not a file's name; use `{name}`"
        )),
        (None, Some(file)) => {
            let path = folder.join(file);
            let text = files.read(&path, MAX_FILE_BYTES);
            text.map(Some)
                .map_err(|error| format!("{name}_file: {} cannot be read: {error}", path.display()))
        }
        (None, None) => Ok(None),
    }
}

/// A text without what surrounds it; `None` if it is empty.
fn value<'a>(name: &str, text: Option<&'a str>) -> Result<Option<&'a str>, String> {
    text::value(text.unwrap_or_default()).map_err(|oddity| format!("{name}: {oddity}"))
}

/// Whether it can be the name of a file, which messages show, and not PEM, which may be a key, nor a line of it.
fn is_name(name: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let is_line = name.len() >= MIN_BASE64_LINE && !name.starts_with('/') && name.bytes().all(is_base64);
    !name.contains(char::is_control) && !name.contains("-----BEGIN") && !is_line
}

/// Every certificate of a PEM text; at least one.
fn parse_certificates(name: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{name}: contains something that is not a PEM certificate"))?;
    if certificates.is_empty() && text.contains(" PRIVATE KEY-----") {
        return Err(format!("{name}: contains a private key, but no certificate"));
    }
    if certificates.is_empty() {
        return Err(format!("{name}: contains no PEM certificate"));
    }
    Ok(certificates)
}

fn certificates(text: Option<Zeroizing<String>>) -> Result<Vec<CertificateDer<'static>>, String> {
    parse_certificates("cert", &text.ok_or("cert: is missing; set it or cert_file")?)
}

fn key(text: Option<Zeroizing<String>>) -> Result<PrivateKeyDer<'static>, String> {
    let text = text.ok_or("key: is missing; set it or key_file")?;
    // Of PKCS #8, and of the older format.
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("key: is encrypted; decrypt it: openssl pkey -in FILE -out NEWFILE".to_owned());
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        if text.contains("-----BEGIN CERTIFICATE-----") {
            "key: contains a certificate, but no private key".to_owned()
        } else {
            "key: contains no PEM private key".to_owned()
        }
    })
}

/// What checks the certificates of clients. Without `authorities`, it trusts those of this machine.
fn verifier(
    section: &TlsSection,
    auth: ClientAuth,
    authorities: Option<Zeroizing<String>>,
    provider: &Arc<CryptoProvider>,
    findings: &mut Findings,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = match (authorities, auth) {
        (None, ClientAuth::None) => return Ok(WebPkiClientVerifier::no_client_auth()),
        (Some(_), ClientAuth::None) => {
            return Err("client_ca: has no effect without client_auth_type RequireAndVerifyClientCert".to_owned());
        }
        (Some(text), _) => named_roots(&text)?,
        (None, _) => system_roots(findings)?,
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match auth {
        ClientAuth::IfGiven => builder.allow_unauthenticated(),
        ClientAuth::None | ClientAuth::Required => builder,
    };
    let verifier = builder
        .build()
        .map_err(|error| format!("client_ca: cannot be used: {error}"))?;
    let Some(names) = &section.client_allowed_sans else {
        return Ok(verifier);
    };
    let names = names.iter().map(|name| value("client_allowed_sans", Some(name)));
    let allowed = names.filter_map(|name| Some(name.transpose()?.map(str::to_owned)));
    Ok(Arc::new(SanVerifier {
        verifier,
        allowed: allowed.collect::<Result<_, _>>()?,
    }))
}

/// The authorities that the file names.
fn named_roots(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates("client_ca", text)? {
        roots
            .add(certificate)
            .map_err(|error| format!("client_ca: contains a certificate that cannot be used: {error}"))?;
    }
    Ok(roots)
}

/// The authorities that this machine trusts: the format's default if the file names none.
fn system_roots(findings: &mut Findings) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
        return Err(format!(
            "client_ca: is missing, and this machine trusts no authority either{cause}"
        ));
    }
    findings.warning(
        "client_ca is missing: certificates of any authority that this machine trusts are accepted from clients",
    );
    Ok(roots)
}
