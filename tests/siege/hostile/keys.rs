//! The API key under hostile answers: it is sent to nobody else, and is not echoed.

use std::path::Path;

use tempfile::tempdir;

use super::{SUCCESS, has_completed, outcome};
use crate::support::authority::{Authority, Identity};
use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::eventually;
use crate::support::program::{KEY, Program, command};

#[tokio::test(flavor = "multi_thread")]
async fn the_key_follows_no_redirect_and_is_echoed_nowhere() {
    let other = Cad::start().await;
    let headers = [
        ("Location", &*other.url()),
        ("Refresh", &*other.url()),
        ("Content-Location", &*other.url()),
    ];
    for version in ["v1", "v2"] {
        for status in [301, 302, 303, 307, 308] {
            let cad = Cad::start().await;
            cad.answer(Answer::status(status, &headers, &KEY.repeat(100_000)));
            let variables = [("SONORANCAD_API_VERSION", version), ("SONORANCAD_LOG", "trace")];
            let mut program = Program::start(command(&cad, &variables));
            let text = program.scrape().await;
            assert_eq!(outcome(&text), "REDIRECTED");
            Program::signal("TERM", program.child.id());
            program.wait();
            let output = program.output();
            assert!(!text.contains(KEY) && !output.contains(KEY), "{output}");
        }
    }
    assert!(other.requests().is_empty());
    for status in [200, 400, 401, 404, 429, 500] {
        let line = format!("HTTP/1.1 {status} {KEY}\r\nX-{KEY}: {KEY}\r\nRetry-After: 1\r\n\r\n");
        let answer = Answer::Stream(Stream::endless(line.as_bytes(), KEY.repeat(100_000).as_bytes()));
        let cad = Cad::start().await;
        cad.answer(answer);
        // With a choice of versions, a 404 would be two failures.
        let variables = [("SONORANCAD_API_VERSION", "v1"), ("SONORANCAD_LOG", "debug")];
        let mut program = Program::start(command(&cad, &variables));
        let text = program.scrape().await;
        assert_ne!(outcome(&text), SUCCESS);
        Program::signal("TERM", program.child.id());
        program.wait();
        let output = program.output();
        assert!(!text.contains(KEY) && !output.contains(KEY), "{status}\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_not_sent_to_a_server_with_an_invalid_certificate() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let trusted = Authority::new();
    std::fs::write(&path, trusted.pem()).unwrap();
    for (name, identity, expected) in [
        ("a valid one", trusted.issue(&["localhost"]), SUCCESS),
        ("another name", trusted.issue(&["example.org"]), "TLS"),
        ("another authority", Authority::new().issue(&["localhost"]), "TLS"),
        ("expired", trusted.issue_expired("localhost"), "TLS"),
        ("self-signed", Identity::self_signed("localhost"), "TLS"),
    ] {
        let cad = Cad::start_tls(identity.acceptor()).await;
        let found = outcome(&scrape_over_tls(&cad, &path).await);
        assert_eq!(found, expected, "{name}");
        assert_eq!(cad.requests().len(), usize::from(found == SUCCESS), "{name}");
    }
    let cad = Cad::start().await;
    assert_eq!(
        outcome(&scrape_over_tls(&cad, &path).await),
        "TIMEOUT",
        "a greeting without an answer"
    );
}

async fn scrape_over_tls(cad: &Cad, authority: &Path) -> String {
    let variables = [
        (
            "SONORANCAD_API_URL",
            &*format!("https://localhost:{}", cad.address.port()),
        ),
        ("SONORANCAD_API_TIMEOUT", "8s"),
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
    ];
    let program = Program::start(command(cad, &variables));
    let mut text = String::new();
    eventually("the fetch has ended", async || {
        text = program.scrape().await;
        has_completed(&text)
    })
    .await;
    text
}
