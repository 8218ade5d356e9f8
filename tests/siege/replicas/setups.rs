//! Stores that cannot be used, and why: the log says it once, and the API is not asked.

use std::fs;
use std::process::Command;

use tempfile::tempdir;

use super::redis::Redis;
use super::{PENDING, calls, pass};
use crate::support::cad::Cad;
use crate::support::exporter::{eventually, has, value};
use crate::support::program::{Program, command};
use crate::support::tools::{Daemon, free_port};

/// The rights that docs/replicas.md names.
fn documented_rights() -> Vec<String> {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replicas.md")).unwrap();
    let (_, rest) = document.split_once("ACL SETUSER exporter on \">password\" ").unwrap();
    let (rights, _) = rest.split_once("```").unwrap();
    let rights = rights.replace(['"', '\\'], "");
    rights.split_whitespace().map(str::to_owned).collect()
}

/// A replica that shares state through this address, and two of its scrapes.
async fn scraped(cad: &Cad, url: &str) -> (Program, String) {
    let variables = [
        ("SONORANCAD_API_VERSION", "v1"),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "59"),
        ("SONORANCAD_SHARED_STATE_URL", url),
    ];
    let replica = Program::start(command(cad, &variables));
    replica.scrape().await;
    pass(1.1).await;
    let text = replica.scrape().await;
    (replica, text)
}

/// Checks that a store at this address is not used, and that the log says once that it is so for this reason.
async fn assert_unusable(url: &str, reason: &str) {
    let cad = Cad::start().await;
    let (mut replica, text) = scraped(&cad, url).await;
    assert_eq!(value(&text, "sonorancad_shared_state_up"), 0.0, "{url}");
    assert!(!has(&text, "sonorancad_api_requests_total"), "{url}");
    assert_eq!(cad.requests().len(), 0, "{url}");
    let warnings: Vec<_> = replica.lines().iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{url}: {warnings:?}");
    assert!(warnings[0].contains(reason), "{url}: {warnings:?}");
    assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
}

async fn assert_usable(url: &str) {
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let (mut replica, text) = scraped(&cad, url).await;
    assert_eq!(value(&text, "sonorancad_shared_state_up"), 1.0, "{url}");
    assert_eq!(value(&text, PENDING), 1.0, "{url}");
    assert!(!replica.lines().iter().any(|line| line.contains("WARN")), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_the_documented_rights() {
    let Some(redis) = Redis::start() else { return };
    let rights = documented_rights();
    let user = |name: &str, rights: &[String]| {
        let begin = ["ACL", "SETUSER", name, "on", ">s3cret:/@#?%"];
        let rights = rights.iter().map(String::as_str);
        redis.command(&begin.into_iter().chain(rights).collect::<Vec<_>>());
        let way = format!("redis://{name}:s3cret%3A%2F%40%23%3F%25@");
        redis.url.replace("redis://", &way) + "/1"
    };
    let without = |right: &str| {
        assert!(rights.iter().any(|other| other == right), "{right}");
        let others = rights.iter().filter(|other| *other != right);
        others.cloned().collect::<Vec<_>>()
    };
    assert_unusable(&user("u1", &without("+script|load")), "script|load").await;
    assert_usable(&user("u2", &rights)).await;
    assert_unusable(&user("u3", &without("+evalsha")), "evalsha").await;
    assert_unusable(&user("u4", &without("~sonorancad:*")), "permissions").await;
    assert_unusable(&user("u5", &without("+zadd")), "on @user_script").await;
    assert_unusable(&user("u6", &without("+select")), "select").await;
    assert_unusable(
        &redis.url.replace("redis://", "redis://u2:other@"),
        "AuthenticationFailed",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_not_used() {
    let Some(redis) = Redis::start() else { return };
    let address = redis.url.trim_start_matches("redis://").replace(':', " ");
    let Some(copy) = Redis::start_with(tempdir().unwrap(), &["--replicaof", &address]) else {
        return;
    };
    eventually("it is a copy", async || {
        copy.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    assert_unusable(&copy.url, "read only replica").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_unusable(&redis.url, "OOM").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_usable(&redis.url).await;
    assert_unusable(&(redis.url.clone() + "/99"), "DB index is out of range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_that_has_other_keys_and_a_sentinel_are_not_used() {
    let folder = tempdir().unwrap();
    let Some(node) = Redis::start_with(folder, &["--cluster-enabled", "yes"]) else {
        return;
    };
    assert_unusable(&node.url, "Hash slot not served").await;
    node.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("the cluster is up", async || {
        node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    })
    .await;
    assert_usable(&node.url).await;
    let (folder, port) = (tempdir().unwrap(), free_port());
    let file = folder.path().join("sentinel.conf");
    fs::write(&file, format!("port {port}\nbind 127.0.0.1\n")).unwrap();
    let _sentinel = Daemon::start(Command::new(super::redis::program()).arg(&file).arg("--sentinel"));
    eventually("it listens", async || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    assert_unusable(&format!("redis://127.0.0.1:{port}"), "EVALSHA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_store_ends_are_made_again_unnoticed() {
    let Some(redis) = Redis::start() else { return };
    let cad = Cad::start().await;
    cad.answer(calls(&[1]));
    let (mut replica, _) = scraped(&cad, &redis.url).await;
    for _ in 0..3 {
        assert_eq!(redis.command(&["CLIENT", "KILL", "TYPE", "normal"]), "1");
        pass(1.1).await;
        let text = replica.scrape().await;
        assert_eq!(value(&text, "sonorancad_shared_state_up"), 1.0);
    }
    assert_eq!(cad.requests().len(), 5);
    assert!(!replica.lines().iter().any(|line| line.contains("WARN")));
}
