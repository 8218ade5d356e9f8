//! The configuration is read again: when its files change, and when a client asks for it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;

use crate::support::authority::Authority;
use crate::support::cad::Cad;
use crate::support::exporter::{eventually, failures, http, value};
use crate::support::program::{KEY, Program, command};

const RELOADED: &str = "sonorancad_config_last_reload_successful";

/// Replaces a folder of files at once, as Kubernetes does: `..data` is a link to the newest version of it.
fn publish(folder: &Path, version: &str, files: &[(&str, &str)]) {
    let data = folder.join(version);
    std::fs::create_dir(&data).unwrap();
    for (name, text) in files {
        std::fs::write(data.join(name), text).unwrap();
        if !folder.join(name).exists() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    symlink(version, folder.join("..next")).unwrap();
    std::fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
}

async fn status(program: &Program, method: Method, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", program.address);
    let response = http().request(method, url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_communities_and_keys_are_read_without_a_signal() {
    let cad = Cad::start().await;
    let folder = tempfile::tempdir().unwrap();
    let community = |alias: &str| {
        let url = cad.url();
        format!("{alias}: {{community_id: x, api_key_file: one.key, api_url: '{url}'}}\n")
    };
    publish(
        folder.path(),
        "1",
        &[("c.yml", &community("one")), ("one.key", "first-key\n")],
    );
    let path = folder.path().join("c.yml");
    let mut program = Program::start(command(
        &cad,
        &[("SONORANCAD_COMMUNITIES_FILE", path.to_str().unwrap())],
    ));
    let probe = async |program: &Program, alias: &str| {
        status(program, Method::GET, &format!("/probe?community={alias}"))
            .await
            .0
    };
    assert_eq!((probe(&program, "one").await, probe(&program, "two").await), (200, 404));

    // Only the key has another content.
    publish(
        folder.path(),
        "2",
        &[("c.yml", &community("one")), ("one.key", "second-key\n")],
    );
    program.wait_for("the configuration has been read again");
    assert_eq!(probe(&program, "one").await, 200);
    let requests = cad.requests();
    assert!(requests[0].body.contains("first-key") && requests.last().unwrap().body.contains("second-key"));

    // A broken file changes nothing, and is logged once however often it is looked at.
    let broken = "one: {api_key: 'THE-SECRET', cache_ttl: soon}\n";
    publish(folder.path(), "3", &[("c.yml", broken), ("one.key", "third-key\n")]);
    program.wait_for("cache_ttl is not a duration");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        (probe(&program, "one").await, value(&program.scrape().await, RELOADED)),
        (200, 0.0)
    );

    publish(
        folder.path(),
        "4",
        &[("c.yml", &community("two")), ("one.key", "third-key\n")],
    );
    program.wait_for("the configuration has been read again");
    assert_eq!((probe(&program, "one").await, probe(&program, "two").await), (404, 200));
    assert_eq!(value(&program.scrape().await, RELOADED), 1.0);
    let count = |part: &str| program.log.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("cache_ttl is not a duration"), 1, "{:#?}", program.log);
    assert_eq!(count("THE-SECRET") + count("-key\""), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_file_of_the_environment_is_read_without_a_signal() {
    let cad = Cad::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "first-key").unwrap();
    let variables = [
        ("SONORANCAD_API_KEY", ""),
        ("SONORANCAD_API_KEY_FILE", path.to_str().unwrap()),
    ];
    let mut program = Program::start(command(&cad, &variables));
    program.scrape().await;
    std::fs::write(&path, "second-key").unwrap();
    program.wait_for("the configuration has been read again");
    program.scrape().await;
    let requests = cad.requests();
    assert!(requests[0].body.contains("first-key") && requests[1].body.contains("second-key"));
    // It is gone for a while when some editors write it.
    std::fs::remove_file(&path).unwrap();
    program.wait_for("SONORANCAD_API_KEY_FILE cannot be read");
    std::fs::write(&path, "third-key").unwrap();
    program.wait_for("the configuration has been read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_is_trusted_without_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let authority = Authority::new();
    let cad = Cad::start_tls(authority.issue(&["localhost"]).acceptor()).await;
    std::fs::write(&path, Authority::new().pem()).unwrap();
    let url = format!("https://localhost:{}", cad.address.port());
    let variables = [
        ("SONORANCAD_API_URL", &*url),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ("SSL_CERT_FILE", path.to_str().unwrap()),
    ];
    let mut program = Program::start(command(&cad, &variables));
    assert_eq!(failures(&program.scrape().await), [("TLS".to_owned(), 1)]);
    // What cannot be used does not replace what can.
    std::fs::write(&path, "no certificate").unwrap();
    program.wait_for("SSL_CERT_FILE contains no certificate");
    std::fs::write(&path, authority.pem()).unwrap();
    program.wait_for("the configuration has been read again");
    eventually("it trusts the new authority", async || {
        value(&program.scrape().await, "sonorancad_up{server_id=\"1\"}") == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_no_client_can_cause_a_reload() {
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    for method in [Method::POST, Method::PUT] {
        assert_eq!(
            status(&program, method, "/-/reload").await,
            (403, "Lifecycle API is not enabled.\n".to_owned())
        );
    }
    assert_eq!(status(&program, Method::GET, "/-/reload").await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_flag_a_client_can_cause_a_reload() {
    let cad = Cad::start().await;
    let folder = tempfile::tempdir().unwrap();
    let communities = folder.path().join("communities.yml");
    let web = folder.path().join("web.yml");
    let write = |text: &str| std::fs::write(&communities, text.replace("API", &cad.url())).unwrap();
    write("one: {api_version: v2, api_key: k, api_url: API}\n");
    std::fs::write(&web, "{}").unwrap();
    let variables = [
        ("SONORANCAD_COMMUNITIES_FILE", communities.to_str().unwrap()),
        ("SONORANCAD_WEB_CONFIG_FILE", web.to_str().unwrap()),
    ];
    let mut command = command(&cad, &variables);
    command.arg("--web.enable-lifecycle");
    let program = Program::start(command);
    let reload = async |method| status(&program, method, "/-/reload").await;
    for (method, alias) in [(Method::POST, "two"), (Method::PUT, "three")] {
        write(&format!("{alias}: {{api_version: v2, api_key: k, api_url: API}}\n"));
        assert_eq!(reload(method).await, (200, String::new()));
        let (code, _) = status(&program, Method::GET, &format!("/probe?community={alias}")).await;
        assert_eq!(code, 200, "it is read when the answer comes");
    }
    assert_eq!(
        reload(Method::GET).await,
        (405, "Only POST or PUT requests allowed.\n".to_owned())
    );

    write("three: {api_version: v2, api_key: 'THE SECRET', api_url: API, cache_ttl: soon}\n");
    let (code, reason) = reload(Method::POST).await;
    assert_eq!(code, 500);
    assert!(
        reason.starts_with("failed to reload config: the configuration has 2 problems:\n")
            && reason.contains("line 1: three: cache_ttl is not a duration")
            && !reason.contains("SECRET")
            && !reason.contains(KEY),
        "{reason}"
    );
    assert_eq!(value(&program.scrape().await, RELOADED), 0.0);
    write("three: {api_version: v2, api_key: k, api_url: API}\n");
    std::fs::write(&web, "basic_auth_users: {john: SECRET}").unwrap();
    let (code, reason) = reload(Method::POST).await;
    assert!(
        code == 500 && reason.contains("the user has no bcrypt hash") && !reason.contains("SECRET"),
        "{reason}"
    );
    std::fs::write(&web, "{}").unwrap();
    assert_eq!(reload(Method::POST).await.0, 200);
    assert_eq!(value(&program.scrape().await, RELOADED), 1.0);
}
