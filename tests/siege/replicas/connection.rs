//! The ways to the store: TLS, a socket, passwords, and a slow network.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::redis::Redis;
use super::{PENDING, calls, replica};
use crate::support::authority::Authority;
use crate::support::cad::Cad;
use crate::support::exporter::{Running, has, value};
use crate::support::tools::free_port;

/// A replica that reaches the store in this way.
fn replica_at(cad: &Cad, redis: &Redis, url: &str, more: &[(&str, &str)]) -> Running {
    let variables = [&[("SONORANCAD_SHARED_STATE_URL", url)], more].concat();
    replica(cad, redis, &variables)
}

/// Whether two replicas share one fetch in this way. If not, neither of them asks: both have only just started.
async fn is_shared(redis: &Redis, url: &str, more: &[(&str, &str)]) -> bool {
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let more = [&[("SONORANCAD_CACHE_TTL", "30s")], more].concat();
    redis.command(&["FLUSHALL"]);
    let replicas = [(); 2].map(|()| replica_at(&cad, redis, url, &more));
    let mut up = Vec::new();
    for replica in &replicas {
        let text = replica.scrape().await;
        up.push(value(&text, "sonorancad_shared_state_up"));
        assert_eq!(has(&text, PENDING), up.ends_with(&[1.0]), "{url}");
    }
    let is_up = up == [1.0, 1.0];
    assert_eq!(cad.requests().len(), usize::from(is_up), "{url}: {up:?}");
    is_up
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_reached_through_tls_with_the_certificates_of_the_api_only() {
    let folder = tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(&["localhost"]).write(folder.path(), "server");
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    fs::write(folder.path().join("other.pem"), Authority::new().pem()).unwrap();
    let port = free_port();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let (trusted, other) = (path("ca.pem"), path("other.pem"));
    let options = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &trusted,
        "--tls-auth-clients",
        "no",
    ];
    let Some(redis) = Redis::start_with(folder, &options) else {
        return;
    };
    let url = format!("rediss://localhost:{port}");
    assert!(is_shared(&redis, &url, &[("SSL_CERT_FILE", &trusted)]).await);
    assert!(!is_shared(&redis, &url, &[("SSL_CERT_FILE", &other)]).await);
    let wrong_name = format!("rediss://127.0.0.1:{port}");
    assert!(!is_shared(&redis, &wrong_name, &[("SSL_CERT_FILE", &trusted)]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_reached_through_a_socket_with_user_password_and_database() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("redis.sock").display().to_string();
    let Some(redis) = Redis::start_with(folder, &["--unixsocket", &socket]) else {
        return;
    };
    assert!(is_shared(&redis, &format!("unix:{socket}"), &[]).await);
    let rights = "on >p%ss ~sonorancad:* resetchannels -@all +evalsha +script|load +client +select \
        +time +type +del +hget +hset +hdel +hexists +hsetnx +pexpire +zadd +zcard +zrange +zrem +zremrangebyscore";
    let rights: Vec<_> = rights.split_whitespace().collect();
    redis.command(&[&["ACL", "SETUSER", "exporter"], &rights[..]].concat());
    let with = |password: &str| redis.url.replace("redis://", &format!("redis://exporter:{password}@")) + "/3";
    assert!(is_shared(&redis, &with("p%25ss"), &[]).await);
    assert_eq!(redis.command(&["-n", "3", "DBSIZE"]), "2");
    assert!(!is_shared(&redis, &with("wrong"), &[]).await);
    // From a file.
    let file = redis.path("url");
    fs::write(&file, with("p%25ss") + "\n").unwrap();
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let variables = [
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_SHARED_STATE_URL_FILE", &*file),
    ];
    let replica = Running::start_with(&cad.url(), &variables, &sonorancad_exporter::clock::Clock::system());
    assert_eq!(value(&replica.scrape().await, "sonorancad_shared_state_up"), 1.0);
}

/// A way to the server at `address`, and its own address. Each part of an answer is passed on when `pass` has ended.
pub(super) async fn way<F>(address: String, pass: impl Fn(&[u8]) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let Ok(server) = TcpStream::connect(&address).await else {
                continue;
            };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let pass = pass.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                    pass(&bytes[..length]).await;
                    let _ = to_client.write_all(&bytes[..length]).await;
                }
            });
        }
    });
    own
}

/// A way to the store on which each answer takes so long.
async fn slow_way(redis: &Redis, delay: Duration) -> String {
    let store = redis.url.trim_start_matches("redis://").to_owned();
    let address = way(store, move |_| tokio::time::sleep(delay)).await;
    format!("redis://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_distant_store_is_used_and_one_that_takes_seconds_is_not() {
    let Some(redis) = Redis::start() else { return };
    let url = slow_way(&redis, Duration::from_millis(100)).await;
    assert!(is_shared(&redis, &url, &[]).await);
    let url = slow_way(&redis, Duration::from_secs(5)).await;
    assert!(!is_shared(&redis, &url, &[]).await);
}
