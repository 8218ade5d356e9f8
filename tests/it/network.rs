//! The way to the API: proxies and CA certificates, by the variables that all programs share.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::HandshakeKind;

use crate::support::authority::Authority;
use crate::support::cad::Cad;
use crate::support::program::{BINARY, KEY, text};

/// A name that only the proxy knows.
const HOST: &str = "cad.example.invalid";

/// A proxy that leads to a CAD, whatever it is asked for, and asks for `user` and `pa@ss`.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, target, seen.clone()));
            }
        });
        Self { address, heads }
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let is_right = head.contains(&BASE64_STANDARD.encode("user:pa@ss"));
    let is_tunnel = head.starts_with("CONNECT ");
    seen.lock().push(head.clone());
    if !is_right {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        let _ = client.write_all(refusal.as_bytes()).await;
        return;
    }
    let mut server = TcpStream::connect(target).await.unwrap();
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        server.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// A check of the API at `url` with these variables.
async fn check(url: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .arg("check")
        .env_clear()
        .env("SONORANCAD_COMMUNITY_ID", "mycommunity")
        .env("SONORANCAD_API_KEY", KEY)
        .env("SONORANCAD_API_URL", url)
        .envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// A CAD over TLS for [`HOST`], and the file of its authority.
async fn secure_cad(folder: &tempfile::TempDir) -> (Cad, String) {
    let authority = Authority::new();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let cad = Cad::start_tls(authority.issue(&[HOST]).acceptor()).await;
    (cad, path.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_proxy_of_either_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let (cad, authority) = secure_cad(&folder).await;
    let proxy = Proxy::start(cad.address).await;
    let good = format!("http://user:pa%40ss@{}", proxy.address);
    let url = format!("https://{HOST}");
    let mut tunnels = 0;
    for (name, text, other) in [
        ("HTTPS_PROXY", good.clone(), ("", "")),
        ("https_proxy", good.clone(), ("HTTPS_PROXY", "")),
        // Without the scheme, and with the line end that an editor of Windows adds.
        ("ALL_PROXY", format!("{}\r", &good[7..]), ("http_proxy", "unused:port")),
        ("all_proxy", format!("\u{feff}{good}/ "), ("NO_PROXY", "other.example")),
        // Set for CGI programs, where Go and curl distrust one of the variables.
        ("HTTPS_PROXY", good.clone(), ("REQUEST_METHOD", "GET")),
    ] {
        let variables = [(name, &*text), ("SSL_CERT_FILE", &authority), other];
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let output = check(&url, &variables).await;
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text_of(&output));
        // The calls, and the list of servers.
        tunnels += 2;
        let heads = proxy.heads.lock().clone();
        assert_eq!(heads.len(), tunnels, "{name}");
        assert!(
            heads
                .iter()
                .all(|head| head.starts_with("CONNECT cad.example.invalid:443 "))
        );
        assert!(!heads.concat().contains(KEY));
    }
    assert_eq!(cad.requests().len(), tunnels);
}

fn text_of(output: &Output) -> String {
    text(&[&*output.stdout, &output.stderr].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_goes_through_its_own_proxy() {
    let cad = Cad::start().await;
    let proxy = Proxy::start(cad.address).await;
    let url = format!("http://{HOST}");
    let good = format!("http://user:pa%40ss@{}", proxy.address);
    let allowed = ("SONORANCAD_ALLOW_HTTP", "true");
    let output = check(&url, &[allowed, ("http_proxy", &good), ("HTTPS_PROXY", "unused:port")]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    assert!(proxy.heads.lock()[0].starts_with("POST http://cad.example.invalid/emergency/get_calls "));
    let wrong = format!("http://user:wrong@{}", proxy.address);
    let found = text_of(&check(&url, &[allowed, ("HTTP_PROXY", &wrong)]).await);
    assert!(
        found.contains("status 407") && found.contains("check the user and the password of the proxy"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_on_the_way_through_a_proxy_names_it_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let (cad, authority) = secure_cad(&folder).await;
    let proxy = Proxy::start(cad.address).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("https://{HOST}");
    let good = format!("http://user:pa%40ss@{}", proxy.address);
    for (proxy, authority, error, address) in [
        (
            format!("http://user:wr0ng@{}", proxy.address),
            &*authority,
            "CONNECT",
            proxy.address.to_string(),
        ),
        (
            format!("http://user:wr0ng@{nobody}"),
            &*authority,
            "CONNECT",
            nobody.to_string(),
        ),
        (
            "http://user:wr0ng@nowhere.invalid:3128".to_owned(),
            &*authority,
            "CONNECT",
            "nowhere.invalid:3128".to_owned(),
        ),
        // The machine's own authorities do not know this CAD.
        (good, "", "TLS", proxy.address.to_string()),
    ] {
        let output = check(&url, &[("HTTPS_PROXY", &proxy), ("SSL_CERT_FILE", authority)]).await;
        let found = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{found}");
        assert!(found.contains(&format!("Server 1: {error}\n")), "{found}");
        assert!(found.contains(&format!("(through the proxy {address})")), "{found}");
        assert!(
            found.contains("proxy") && !found.contains("wr0ng") && !found.contains("user:"),
            "{found}"
        );
        assert!(
            !found.contains(HOST),
            "not the API's name could not be looked up: {found}"
        );
    }
    assert!(cad.requests().is_empty());
    // Without a proxy, the name that cannot be looked up is the API's.
    let found = text_of(&check(&url, &[]).await);
    assert!(
        found.contains("cannot reach the API: the name cad.example.invalid cannot be looked up: "),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_names_is_reached_directly() {
    let folder = tempfile::tempdir().unwrap();
    let (cad, authority) = secure_cad(&folder).await;
    let proxy = Proxy::start(cad.address).await;
    let good = format!("http://user:pa%40ss@{}", proxy.address);
    let url = format!("https://{HOST}");
    for (no_proxy, is_direct) in [
        ("*.example.invalid,api.example.com:443", true),
        ("cad.example.invalid:443", true),
        (" .example.invalid\r", true),
        ("*", true),
        ("cad.example.invalid:8443", false),
        ("10.0.0.0/8,localhost", false),
    ] {
        proxy.heads.lock().clear();
        let variables = [
            ("HTTPS_PROXY", &*good),
            ("SSL_CERT_FILE", &authority),
            ("no_proxy", no_proxy),
        ];
        let output = check(&url, &variables).await;
        assert_eq!(
            proxy.heads.lock().is_empty(),
            is_direct,
            "{no_proxy}: {}",
            text_of(&output)
        );
        assert_eq!(output.status.success(), !is_direct, "{no_proxy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_on_the_way_to_the_api_is_a_problem() {
    let cad = Cad::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let empty = path("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(path("notes.txt"), "no certificate").unwrap();
    std::fs::write(path("cut.pem"), "-----BEGIN CERTIFICATE-----\nabc").unwrap();
    let der = rcgen::generate_simple_self_signed([]).unwrap().cert.der().to_vec();
    std::fs::write(path("ca.der"), der).unwrap();
    let url = format!("https://{HOST}");
    for (name, text, reason) in [
        (
            "HTTPS_PROXY",
            "\"http://user:SECRET@127.0.0.1:1\"",
            "has quotes around it",
        ),
        ("https_proxy", "'127.0.0.1:1'\r", "has quotes around it"),
        (
            "ALL_PROXY",
            "http://user:SECRET@proxy.example:port",
            "has a port that is not a number",
        ),
        ("all_proxy", "http://user:SE#CRET@proxy.example:1", "contains `/`"),
        (
            "HTTPS_PROXY",
            "socks5://user:SECRET@proxy.example:1",
            "is a SOCKS proxy, which is not supported",
        ),
        ("SSL_CERT_FILE", "/does/not/exist.pem", "cannot be read: No such file"),
        ("SSL_CERT_FILE", "/dev/zero", "cannot be read: it is not a regular file"),
        ("SSL_CERT_FILE", &path("notes.txt"), "contains no certificate"),
        ("SSL_CERT_FILE", &path("cut.pem"), "contains no certificate"),
        (
            "SSL_CERT_FILE",
            &path("ca.der"),
            "is in the binary format DER; convert it",
        ),
        (
            "SSL_CERT_DIR",
            "/does/not/exist",
            "names a folder that cannot be read (number 1)",
        ),
        ("SSL_CERT_DIR", &empty, "names a folder without a certificate"),
    ] {
        let output = check(&url, &[(name, text)]).await;
        let found = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{found}");
        assert!(
            found.starts_with(&format!("There is a problem:\n  {name} {reason}")),
            "{found}"
        );
        assert!(!found.contains("SECRET"), "{found}");
        // An API on this machine needs none of them.
        let output = check(&cad.url(), &[(name, text)]).await;
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    }
    let both = [("HTTPS_PROXY", "127.0.0.1:1"), ("NO_PROXY", "good.example,10.0.0.0/99")];
    let found = text_of(&check(&url, &both).await);
    assert!(found.contains("NO_PROXY entry 2 cannot be read"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_found_in_a_file_and_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (cad, authority) = secure_cad(&folder).await;
    let proxy = Proxy::start(cad.address).await;
    let good = format!("http://user:pa%40ss@{}", proxy.address);
    let url = format!("https://{HOST}");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("other.pem"), Authority::new().pem()).unwrap();
    let marked = folder.path().join("marked.pem");
    std::fs::write(
        &marked,
        format!("\u{feff}{}", std::fs::read_to_string(&authority).unwrap()),
    )
    .unwrap();
    let here = folder.path().to_str().unwrap();
    let other = other.to_str().unwrap();
    for (file, folders) in [
        (&*authority, ""),
        (marked.to_str().unwrap(), ""),
        ("", here),
        ("", &format!("{other}:{here}:")),
        (&authority, other),
    ] {
        let variables = [
            ("HTTPS_PROXY", &*good),
            ("SSL_CERT_FILE", file),
            ("SSL_CERT_DIR", folders),
        ];
        let output = check(&url, &variables).await;
        assert_eq!(output.status.code(), Some(0), "{file} {folders}: {}", text_of(&output));
    }
}

/// A full handshake takes more time than all the rest of a small fetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_resumes_the_session_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let authority = Authority::new();
    std::fs::write(&path, authority.pem()).unwrap();
    let cad = Cad::start_tls(authority.issue(&["localhost"]).acceptor()).await;
    let url = format!("https://localhost:{}", cad.address.port());
    let output = check(&url, &[("SSL_CERT_FILE", path.to_str().unwrap())]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    // The calls, and the list of servers.
    assert_eq!(cad.handshakes(), [HandshakeKind::Full, HandshakeKind::Resumed]);
}
