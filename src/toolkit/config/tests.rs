use std::fs;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use tempfile::TempDir;

use super::*;

/// A bcrypt hash of "secret", of the lowest cost.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuE3E6zKzgWyqNV1sDzfIbXCLy4w2u7Lm";

/// A folder with `cert.pem` and `key.pem`, the authority `ca.pem` and another key `other.pem`; removed when dropped.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("cert.pem", &certificate.pem());
        folder.write("key.pem", &key.serialize_pem());
        folder.write("ca.pem", &authority.pem());
        folder.write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
        folder.write("junk.pem", "no certificate\n");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// What a web configuration file here means.
    fn read(&self, text: &str) -> Result<WebConfig, String> {
        self.write("web.yml", text);
        let mut files = WatchedFiles::default();
        WebConfig::read(&self.0.path().join("web.yml"), &mut files).map_err(|error| error.to_string())
    }

    /// The same of a section of TLS with a certificate and a key, and this beside them.
    fn read_tls(&self, more: &str) -> Result<WebConfig, String> {
        self.read(&format!(
            "tls_server_config: {{cert_file: cert.pem, key_file: key.pem, {more}}}\n"
        ))
    }
}

#[track_caller]
fn assert_refused(outcome: Result<WebConfig, String>, reason: &str) {
    let error = outcome.expect_err(reason);
    assert!(error.contains(reason), "{reason:?} should be in {error:?}");
}

#[test]
fn a_file_that_says_nothing_changes_nothing() {
    let folder = Folder::new();
    for text in [
        "{}",
        "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
        "tls_server_config: {}\nhttp_server_config: {headers: {}}\nbasic_auth_users: {}\n",
        "http_server_config: {http2: false, headers: {X-XSS-Protection: }}\n",
    ] {
        let config = folder.read(text).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty() && config.headers.is_empty());
    }
}

#[test]
fn certificates_come_from_files_or_stand_inline() {
    let folder = Folder::new();
    let inline = |key: &str, name: &str| {
        let text = folder.text(name).replace('\n', "\n    ");
        format!("  {key}: |\n    {text}\n")
    };
    for (cert, key) in [
        ("  cert_file: cert.pem\n".to_owned(), "  key_file: key.pem\n".to_owned()),
        ("  cert_file: cert.pem\n".to_owned(), inline("key", "key.pem")),
        (inline("cert", "cert.pem"), "  key_file: key.pem\n".to_owned()),
        (inline("cert", "cert.pem"), inline("key", "key.pem")),
    ] {
        let config = folder.read(&format!("tls_server_config:\n{cert}{key}")).unwrap();
        assert!(config.tls.is_some());
    }
}

/// Connects in memory, and gives the kind of handshake.
fn shake_hands(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let mut client = ClientConnection::new(client.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.wants_write() || server.wants_write() {
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        let mut sent = &sent[..];
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets().unwrap();
        }
        while server.wants_write() {
            server.write_tls(&mut answered).unwrap();
        }
        let mut answered = &answered[..];
        while !answered.is_empty() {
            client.read_tls(&mut answered).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    client.handshake_kind().unwrap()
}

#[test]
fn sessions_are_not_resumed() {
    let folder = Folder::new();
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(folder.text("ca.pem").as_bytes()).unwrap();
    roots.add(authority).unwrap();
    for version in ["TLS12", "TLS13"] {
        let config = folder.read_tls(&format!("max_version: {version}")).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let client = Arc::new(client);
        for _ in 0..3 {
            assert_eq!(
                shake_hands(&client, config.tls.as_ref().unwrap()),
                HandshakeKind::Full,
                "{version}"
            );
        }
    }
}

#[test]
fn everything_that_the_format_offers_and_is_secure_is_accepted() {
    let folder = Folder::new();
    for more in [
        "client_auth_type: NoClientCert",
        "client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem",
        "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [localhost]",
        "min_version: TLS13",
        "max_version: TLS12",
        "min_version: TLS12, max_version: TLS13",
        "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]",
        "cipher_suites: []",
        "prefer_server_cipher_suites: false",
        "curve_preferences: [CurveP384, CurveP256, X25519]",
    ] {
        let config = folder.read_tls(more).unwrap_or_else(|error| panic!("{more}: {error}"));
        assert!(config.tls.is_some(), "{more}");
    }
}

#[test]
fn what_is_not_supported_is_refused_in_words() {
    let folder = Folder::new();
    for (more, reason) in [
        ("max_version: TLS11", "max_version: TLS below 1.2 is not supported"),
        ("client_auth_type: RequireAnyClientCert", "types that do not verify"),
        ("client_auth_type: RequireClientCert", "types that do not verify"),
        (
            "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA], max_version: TLS12",
            "cipher_suites: none of them can be used with max_version TLS12",
        ),
        (
            "curve_preferences: [CurveP521]",
            "curve_preferences: none of them is supported; these are: CurveP256, CurveP384, X25519",
        ),
    ] {
        assert_refused(folder.read_tls(more), reason);
    }
}

#[test]
fn what_has_no_effect_here_is_accepted_with_a_warning() {
    let folder = Folder::new();
    for (text, warning) in [
        ("rate_limit: {interval: 1s, burst: 20}", "rate_limit has no effect"),
        (
            "http_server_config: {http2: true}",
            "http2 has no effect: HTTP/1.1 is served",
        ),
        ("basic_auth_users: {}", "no password is required"),
    ] {
        let config = folder.read(text).unwrap();
        assert!(
            config.warnings.len() == 1 && config.warnings[0].contains(warning),
            "{config:?}"
        );
    }
    for (more, warning) in [
        ("min_version: TLS10", "TLS12 is the minimum in use"),
        ("min_version: TLS11, max_version: TLS13", "TLS12 is the minimum in use"),
        ("client_auth_type: RequestClientCert", "RequestClientCert has no effect"),
        (
            "client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem, client_allowed_sans: [localhost]",
            "client_allowed_sans: with VerifyClientCertIfGiven, clients without a certificate are let in",
        ),
        (
            "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\nTLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
            "cipher_suites: line 2: is not offered",
        ),
        (
            "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
            "cipher_suites: line 1: is not offered",
        ),
        (
            "curve_preferences: [X25519,\nCurveP521]",
            "curve_preferences: line 2: is not offered",
        ),
    ] {
        let config = folder.read_tls(more).unwrap_or_else(|error| panic!("{more}: {error}"));
        let warnings = config.warnings;
        assert!(config.tls.is_some() && warnings.len() == 1, "{more}: {warnings:?}");
        assert!(
            warnings[0].starts_with("tls_server_config: ") && warnings[0].contains(warning),
            "{warnings:?}"
        );
    }
    assert!(
        folder
            .read("http_server_config: {http2: false}")
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn a_hash_that_takes_seconds_to_check_is_accepted_with_a_warning() {
    let folder = Folder::new();
    for (cost, warnings) in [(14, 0), (15, 1), (18, 1)] {
        let hash = format!("$2y${cost}$abcdefghijklmnopqrstuuE3E6zKzgWyqNV1sDzfIbXCLy4w2u7Lm");
        let config = folder.read(&format!("basic_auth_users: {{alice: '{hash}'}}")).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{cost}: {:?}", config.warnings);
    }
}

#[test]
fn a_key_that_is_encrypted_or_no_key_is_said_to_be_so() {
    let folder = Folder::new();
    let armoured =
        |label: &str, head: &str| format!("-----BEGIN {label}-----\n{head}MIIFHDBOBgkqhkiG\n-----END {label}-----\n");
    folder.write("pkcs8.pem", &armoured("ENCRYPTED PRIVATE KEY", ""));
    let head = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0011223344556677\n\n";
    folder.write("older.pem", &armoured("RSA PRIVATE KEY", head));
    fs::write(folder.0.path().join("key.der"), b"\x30\x82\x04\xa4\xff").unwrap();
    for (files, reason) in [
        (
            "cert_file: cert.pem, key_file: pkcs8.pem",
            "key: is encrypted; decrypt it",
        ),
        (
            "cert_file: cert.pem, key_file: older.pem",
            "key: is encrypted; decrypt it",
        ),
        (
            "cert_file: cert.pem, key_file: cert.pem",
            "key: contains a certificate, but no private key",
        ),
        (
            "cert_file: key.pem, key_file: key.pem",
            "cert: contains a private key, but no certificate",
        ),
        (
            "cert_file: cert.pem, key_file: key.der",
            "key.der cannot be read: it is in the binary format DER",
        ),
    ] {
        assert_refused(folder.read(&format!("tls_server_config: {{{files}}}")), reason);
    }
}

#[test]
fn what_is_not_in_the_format_is_refused_with_its_line() {
    let folder = Folder::new();
    for (text, reason) in [
        (
            "tls_server_config: {cert_filse: cert.pem}",
            "line 1: has a setting that does not exist; the nearest one is cert_file",
        ),
        (
            "http_server_config: {}\ntls_config: {}",
            "line 2: has a setting that does not exist; the nearest one is tls_server_config",
        ),
        (
            "alice: $2y$10$abcdefghijklmnopqrstuv",
            "line 1: has a setting that does not exist; these do: tls_server_config, http_server_config, basic_auth_users, ",
        ),
        (
            "http_server_config: {}\nhttp_server_config: {}",
            "line 2: has a duplicate key",
        ),
        ("", "it is empty; `{}` means plain HTTP for everyone"),
        ("[]", "line 1, column 1"),
        ("tls_server_config: [", "line 1"),
    ] {
        assert_refused(folder.read(text), reason);
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let folder = Folder::new();
    folder.write("large.pem", &"x".repeat((1 << 20) + 1));
    for (text, reason) in [
        ("tls_server_config: {cert_file: cert.pem}", "key: is missing"),
        ("tls_server_config: {key_file: key.pem}", "cert: is missing"),
        (
            "tls_server_config: {cert_file: '', key_file: key.pem}",
            "cert: is missing",
        ),
        ("tls_server_config: {min_version: TLS13}", "cert: is missing"),
        (
            "tls_server_config: {cert_file: absent.pem, key_file: key.pem}",
            "absent.pem cannot be read: No such file",
        ),
        (
            "tls_server_config: {cert_file: junk.pem, key_file: key.pem}",
            "cert: contains no PEM certificate",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: junk.pem}",
            "key: contains no PEM private key",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: other.pem}",
            "certificate and key cannot be used",
        ),
        (
            "tls_server_config: {cert_file: large.pem, key_file: key.pem}",
            "it is larger than 1024 KiB",
        ),
        (
            "tls_server_config: {cert_file: /dev/zero, key_file: key.pem}",
            "/dev/zero cannot be read: it is not a regular file",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, cert: x, key_file: key.pem}",
            "cert and cert_file are both set",
        ),
        (
            "http_server_config:\n  headers:\n    Content-Type: foo\n",
            "http_server_config: headers: line 3: cannot be set; these can: Content-Security-Policy, ",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: foo}}",
            "X-Frame-Options: must be deny or sameorigin",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
            "must be nosniff",
        ),
        (
            "http_server_config: {headers: {X-XSS-Protection: \"1\\n2\"}}",
            "contains characters that a header cannot",
        ),
        (
            "basic_auth_users: {john: doe}",
            "basic_auth_users: line 1: the user has no bcrypt hash",
        ),
        (
            "basic_auth_users:\n  john:\n",
            "basic_auth_users: line 2: the user has no bcrypt hash",
        ),
    ] {
        assert_refused(folder.read(text), reason);
    }
    for (more, reason) in [
        ("min_version: TLS111", "min_version: must be TLS12 or TLS13"),
        (
            "min_version: TLS13, max_version: TLS12",
            "min_version: is above max_version",
        ),
        ("client_auth_type: x", "client_auth_type: must be NoClientCert"),
        (
            "client_ca_file: ca.pem",
            "client_ca: has no effect without client_auth_type",
        ),
        (
            "client_auth_type: RequireAndVerifyClientCert, client_ca_file: junk.pem",
            "client_ca: contains no PEM certificate",
        ),
        ("client_allowed_sans: [x]", "client_allowed_sans: has no effect"),
        (
            "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: []",
            "client_allowed_sans: is empty",
        ),
        (
            "cipher_suites: [TLS_WHATEVER]",
            "cipher_suites: line 1: is not supported",
        ),
        (
            "curve_preferences: [CurveP257]",
            "curve_preferences: line 1: is not supported",
        ),
    ] {
        assert_refused(folder.read_tls(more), reason);
    }
}

#[test]
fn what_stands_in_the_place_of_a_files_name_is_neither_opened_nor_shown() {
    let folder = Folder::new();
    let key = folder.text("key.pem");
    let body = key.lines().nth(1).unwrap();
    let block = |mark: &str| format!("{mark}\n    {}\n", key.replace('\n', "\n    "));
    for name in ["cert", "key", "client_ca"] {
        for text in [
            block("|"),
            block(">"),
            block(""),
            format!("\"{body}\\n\"\n"),
            format!("\"{body}\\0\"\n"),
            format!("-----BEGIN PRIVATE KEY-----{body}\n"),
        ] {
            let text = format!("tls_server_config:\n  {name}_file: {text}");
            folder.write("web.yml", &text);
            let mut files = WatchedFiles::default();
            let error = WebConfig::read(&folder.0.path().join("web.yml"), &mut files).unwrap_err();
            let error = error.to_string();
            let reason = format!("{name}_file: contains a key or certificate itself, not a file's name; use `{name}`");
            assert!(error.contains(&reason) && !error.contains(body), "{text}: {error}");
            let mut only = WatchedFiles::default();
            only.read(&folder.0.path().join("web.yml"), 1 << 20).unwrap();
            assert_eq!(files, only, "{text}");
        }
    }
}

#[test]
fn what_surrounds_a_value_is_removed_and_quotes_are_refused() {
    let folder = Folder::new();
    folder.write("bom.pem", &format!("\u{feff}{}", folder.text("cert.pem")));
    let config = folder.read(&format!(
        "\u{feff}tls_server_config:\n  cert_file: \"bom.pem\\r\\n\"\n  key_file: |\n    key.pem\n  min_version: ' TLS13 '\n  \
         client_auth_type: \"NoClientCert\\n\"\nhttp_server_config:\n  headers:\n    X-Frame-Options: |\n      deny\n\
         basic_auth_users:\n  john: |\n    {HASH}\n"
    ));
    let config = config.unwrap();
    assert!(config.tls.is_some() && !config.users.is_empty());
    assert_eq!(config.headers[0].1, "deny");
    for (text, reason) in [
        (
            "tls_server_config: {cert_file: \"'cert.pem'\", key_file: key.pem}",
            "cert_file: has quotes around it",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: \"'deny'\"}}",
            "X-Frame-Options: has quotes around it",
        ),
        (
            "basic_auth_users: {john: \"'SECRET'\"}",
            "basic_auth_users: line 1: the hash has quotes around it",
        ),
    ] {
        assert_refused(folder.read(text), reason);
    }
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(folder.0.path().join("web.yml"), utf16).unwrap();
    let error = WebConfig::read(&folder.0.path().join("web.yml"), &mut WatchedFiles::default()).unwrap_err();
    assert!(error.to_string().contains("it is UTF-16, not UTF-8"), "{error}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let folder = Folder::new();
    let error = folder
        .read(
            "rate_limit: {burst: 1}\n\
             http_server_config: {http2: true, headers: {Server: x}}\n\
             basic_auth_users: {john: doe,\n  'a:b': doe}\n\
             tls_server_config: {min_version: x, cipher_suites: [x], client_auth_type: x}\n",
        )
        .unwrap_err();
    for part in [
        "headers: line 2:",
        "basic_auth_users: line 3: the user has no bcrypt hash",
        "basic_auth_users: line 4: the user's name is followed by a colon",
        "min_version:",
        "cipher_suites:",
        "client_auth_type:",
        "cert:",
        "key:",
    ] {
        assert!(error.contains(part), "{part} should be in {error}");
    }
}

#[test]
fn no_message_shows_a_value() {
    let folder = Folder::new();
    for text in [
        "tls_server_config: SECRET",
        "SECRET",
        "- SECRET",
        "tls_server_config: {key: SECRET, cert: SECRET, client_ca: SECRET, client_auth_type: RequireAndVerifyClientCert}",
        "tls_server_config: {min_version: SECRET, max_version: SECRET, prefer_server_cipher_suites: SECRET}",
        "tls_server_config: {key: [SECRET]}",
        "basic_auth_users: {john: SECRET}",
        "basic_auth_users: {john: {password: SECRET}}",
        "basic_auth_users: [SECRET]",
        "http_server_config: {headers: {X-Frame-Options: SECRET}}",
        "basic_auth_users: {john: \"SECRET",
        "basic_auth_users: {john: SECRET, john: SECRET}",
        "basic_auth_users: {john: *SECRET}",
        "a: &a SECRET\nb: !!int SECRET",
        "SECRET: {}",
        "? SECRET\n: {}",
        "{SECRET: 1, SECRET: 2}",
        "!SECRET x: *SECRET",
        "tls_server_config: {SECRET: x}",
        "http_server_config: {SECRET: x}",
        "http_server_config: {headers: {SECRET: x}}",
        "http_server_config: {headers: {SECRET: x, SECRET: y}}",
        "basic_auth_users: {SECRET: alice}",
        "basic_auth_users: {SECRET: alice, SECRET: bob}",
        "basic_auth_users: {'SECRET:alice': SECRET}",
        "tls_server_config: {cipher_suites: [SECRET], curve_preferences: [SECRET], client_auth_type: SECRET}",
        "tls_server_config: {client_allowed_sans: [SECRET]}",
    ] {
        let Err(error) = folder.read(text) else {
            panic!("{text} should be refused");
        };
        assert!(!error.contains("SECRET"), "{text}: {error}");
    }
    let config = folder.read(&format!("basic_auth_users: {{john: {HASH}}}")).unwrap();
    assert!(!format!("{config:?}").contains("$2y$"), "{config:?}");
}

#[test]
fn headers_are_read_as_texts() {
    let folder = Folder::new();
    let config = folder
        .read(
            "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    \
             Strict-Transport-Security: max-age=31536000; includeSubDomains\n    X-Content-Type-Options: nosniff\n    \
             Content-Security-Policy: \"default-src 'self'\"\n",
        )
        .unwrap();
    let mut headers: Vec<_> = config
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("content-security-policy", "default-src 'self'"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "deny"),
            ("x-xss-protection", "1"),
        ]
    );
}
