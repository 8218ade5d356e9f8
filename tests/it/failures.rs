//! Every way in which the API fails: the label it is counted by, and when it is asked again.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{NOON, Running, failures, has, value};

/// Which servers pause after a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pauses {
    Server,
    Account,
}

/// The first pause of a back-off: one TTL.
const BACK_OFF: (u64, Pauses) = (40, Pauses::Server);
const LONG: (u64, Pauses) = (300, Pauses::Account);
const LONG_FOR_SERVER: (u64, Pauses) = (300, Pauses::Server);

/// Scrapes two servers, of which the first gets `answer`, and checks every consequence of it.
async fn assert_failure(version: &str, answer: Answer, label: &str, (pause, pauses): (u64, Pauses)) {
    let context = format!("{version} {answer:?}");
    let cad = Cad::start().await;
    // The sibling's answer must come in time on a busy machine too.
    let api_timeout = if matches!(answer, Answer::BytesThenStall(_)) {
        "2s"
    } else {
        "60s"
    };
    cad.answer_server(1, answer);
    let variables = [
        ("SONORANCAD_API_VERSION", version),
        ("SONORANCAD_SERVER_IDS", "1,2"),
        ("SONORANCAD_CACHE_TTL", "40s"),
        ("SONORANCAD_API_TIMEOUT", api_timeout),
    ];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    let text = exporter.scrape().await;
    assert_eq!(failures(&text), [(label.to_owned(), 1)], "{context}");
    assert_eq!(value(&text, "sonorancad_up{server_id=\"1\"}"), 0.0, "{context}");
    assert!(!has(&text, "sonorancad_active_calls{server_id=\"1\""), "{context}");
    let sibling = value(&text, "sonorancad_up{server_id=\"2\"}");
    assert_eq!(sibling == 0.0, pauses == Pauses::Account, "{context}");
    let retry_at = value(
        &text,
        "sonorancad_api_retry_timestamp_seconds{server_id=\"1\",api_endpoint=\"calls\"}",
    );
    assert_eq!(
        Duration::from_secs_f64(retry_at),
        NOON + Duration::from_secs(pause),
        "{context}"
    );

    clock.advance(Duration::from_millis(pause * 1000 - 1));
    exporter.scrape().await;
    let asked = cad
        .requests()
        .iter()
        .filter(|request| request.server_id() == Some(1))
        .count();
    assert_eq!(asked, 1, "{context}: asked again too early");
    clock.advance(Duration::from_millis(1));
    exporter.scrape().await;
    // A connection that broke off is not counted as a request by the fake; the exporter counts it.
    let text = exporter.scrape().await;
    assert_eq!(
        value(
            &text,
            "sonorancad_api_requests_total{server_id=\"1\",api_endpoint=\"calls\"}"
        ),
        2.0,
        "{context}"
    );
}

#[tokio::test]
async fn the_apis_own_strings_are_labels_at_any_status() {
    for text in [
        "INVALID REQUEST TYPE",
        "INVALID COMMUNITY ID",
        "INVALID API KEY",
        "API IS NOT ENABLED FOR THIS COMMUNITY",
        "API ENDPOINT IS NOT ENABLED FOR THIS COMMUNITY",
        "VERSION PLUS REQUIRED",
        "VERSION PRO REQUIRED",
    ] {
        for status in [200, 400, 401, 403, 404, 429, 500, 302] {
            assert_failure("v1", Answer::status(status, &[], text), text, LONG).await;
        }
        assert_failure(
            "v1",
            Answer::status(
                400,
                &[("Content-Type", "application/json")],
                &format!("\u{feff} \"{text}\"\r\n"),
            ),
            text,
            LONG,
        )
        .await;
        assert_failure("v2", Answer::status(400, &[], text), text, LONG).await;
    }
}

#[tokio::test]
async fn a_retired_endpoint_is_gone() {
    for text in [
        "Backend Service Reached",
        "Sonoran CAD: Backend Service Reached",
        "Sonoran CAD: Backend Service Reached\n",
    ] {
        for status in [200, 404, 500] {
            assert_failure("v1", Answer::status(status, &[], text), "ENDPOINT GONE", LONG).await;
        }
    }
    for status in [404, 410] {
        assert_failure("v1", Answer::status(status, &[], ""), "ENDPOINT GONE", LONG).await;
        assert_failure("v1", Answer::problem(status, "{}"), "ENDPOINT GONE", LONG).await;
        assert_failure("v2", Answer::problem(status, "{}"), "UNKNOWN SERVER", LONG_FOR_SERVER).await;
        assert_failure("v2", Answer::status(status, &[], "<html>"), "HTTP 4XX", BACK_OFF).await;
    }
    assert_failure(
        "v2",
        Answer::ok("Backend Service Reached"),
        "INVALID RESPONSE",
        BACK_OFF,
    )
    .await;
}

#[tokio::test]
async fn each_status_has_its_label() {
    for version in ["v1", "v2"] {
        for (status, label, pause) in [
            (301, "REDIRECTED", BACK_OFF),
            (307, "REDIRECTED", BACK_OFF),
            (400, "HTTP 4XX", BACK_OFF),
            (401, "UNAUTHORIZED", LONG),
            (402, "PLAN REQUIRED", LONG),
            (403, "FORBIDDEN", LONG),
            (408, "HTTP 4XX", BACK_OFF),
            (418, "HTTP 4XX", BACK_OFF),
            (429, "RATE LIMITED", (60, Pauses::Account)),
            (500, "HTTP 5XX", BACK_OFF),
            (503, "HTTP 5XX", BACK_OFF),
            (522, "HTTP 5XX", BACK_OFF),
        ] {
            assert_failure(version, Answer::problem(status, r#"{"detail":"x"}"#), label, pause).await;
            assert_failure(
                version,
                Answer::status(status, &[], "<html>Ray ID: 123</html>"),
                label,
                pause,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_rate_limit_says_how_long_to_wait() {
    for (name, text, seconds) in [
        ("Retry-After", "90", 90),
        ("Retry-After", "Mon, 23 Nov 2026 12:01:30 GMT", 90),
        ("Retry-After", "0", 1),
        ("Retry-After", "Mon, 23 Nov 2026 11:00:00 GMT", 1),
        ("Retry-After", "86400", 3600),
        ("RateLimit-Reset", "45", 45),
        ("X-RateLimit-Reset", "50", 50),
        ("X-RateLimit-Reset", "1795435270", 70),
        ("X-RateLimit-Reset", "1795435270000", 70),
    ] {
        let answer = Answer::status(429, &[(name, text)], r#"{"message":"API rate limit exceeded"}"#);
        assert_failure("v2", answer.clone(), "RATE LIMITED", (seconds, Pauses::Account)).await;
        assert_failure("v1", answer, "RATE LIMITED", (seconds, Pauses::Account)).await;
    }
}

/// An answer that breaks off in its body.
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"activeCalls\":[";

#[tokio::test]
async fn a_503_that_says_how_long_to_wait_is_not_asked_before() {
    for (text, seconds) in [
        ("600", 600),
        ("Mon, 23 Nov 2026 12:10:00 GMT", 600),
        ("86400", 3600),
        // Shorter than the back-off.
        ("5", 40),
        ("soon", 40),
    ] {
        for version in ["v1", "v2"] {
            let answer = Answer::status(503, &[("Retry-After", text)], "busy");
            assert_failure(version, answer, "HTTP 5XX", (seconds, Pauses::Server)).await;
        }
    }
}

#[tokio::test]
async fn an_api_that_always_says_ask_at_once_is_asked_less_and_less_often() {
    for retry_after in ["0", "Mon, 23 Nov 2026 11:00:00 GMT"] {
        let cad = Cad::start().await;
        let limited = Answer::status(429, &[("Retry-After", retry_after)], "");
        cad.answer(limited.clone());
        let budget = [("SONORANCAD_REQUESTS_PER_MINUTE", "60")];
        let (exporter, clock) = Running::start_at_noon(&cad, &budget);
        let mut asked_at = Vec::new();
        for second in 0..100 {
            match second {
                40 => cad.answer(Answer::ok(r#"{"activeCalls":[]}"#)),
                // A TTL after the good answer.
                88 => cad.answer(limited.clone()),
                _ => {}
            }
            let before = cad.requests().len();
            exporter.scrape().await;
            if cad.requests().len() > before {
                asked_at.push(second);
            }
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(asked_at, [0, 1, 3, 7, 15, 31, 63, 88, 89, 91, 95], "{retry_after}");
    }
}

#[tokio::test]
async fn a_broken_connection_has_its_label() {
    for (answer, label) in [
        (Answer::BytesThenEnd(Vec::new()), "CONNECT"),
        (Answer::BytesThenReset(Vec::new()), "CONNECT"),
        (Answer::BytesThenReset(b"HTTP/1.1 200".to_vec()), "CONNECT"),
        (Answer::BytesThenEnd(HALF.to_vec()), "INVALID RESPONSE"),
        (Answer::BytesThenEnd(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "CONNECT"),
    ] {
        assert_failure("v1", answer, label, BACK_OFF).await;
    }
}

#[tokio::test]
#[ignore = "slow"]
async fn an_answer_that_stalls_has_its_label() {
    let error = b"HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\n";
    let stall = |bytes: &[u8], label| assert_failure("v1", Answer::BytesThenStall(bytes.to_vec()), label, BACK_OFF);
    tokio::join!(stall(b"", "TIMEOUT"), stall(HALF, "TIMEOUT"), stall(error, "HTTP 5XX"),);
}

#[tokio::test]
async fn a_good_status_with_a_bad_body_is_an_invalid_response() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "<html></html>",
        r#"{"activeCalls":[{"#,
        r#"{"message":"API rate limit exceeded"}"#,
        "INVALID",
    ] {
        assert_failure("v1", Answer::ok(body), "INVALID RESPONSE", BACK_OFF).await;
        assert_failure("v2", Answer::ok(body), "INVALID RESPONSE", BACK_OFF).await;
    }
    assert_failure("v1", Answer::status(204, &[], ""), "INVALID RESPONSE", BACK_OFF).await;
    let gzip = [("Content-Encoding", "gzip")];
    assert_failure("v1", Answer::status(200, &gzip, "{}"), "INVALID RESPONSE", BACK_OFF).await;
    assert_failure(
        "v1",
        Answer::status(200, &[("Content-Encoding", "br")], "{}"),
        "INVALID RESPONSE",
        BACK_OFF,
    )
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_and_after_decompression() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..49 {
        encoder.write_all(&spaces).unwrap();
    }
    let bomb = Answer::status_with_bytes(200, &[("Content-Encoding", "gzip")], &encoder.finish().unwrap());
    let announced = Answer::BytesThenStall(b"HTTP/1.1 200 OK\r\nContent-Length: 50331649\r\n\r\n".to_vec());
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(endless.len() + (49 << 20), b' ');
    // Not to be cut short by the time-out of the other tests, on a slow machine.
    for answer in [bomb, announced, Answer::BytesThenEnd(endless)] {
        let cad = Cad::start().await;
        cad.answer(answer);
        let exporter = Running::start(&cad, &[]);
        assert_eq!(
            failures(&exporter.scrape().await),
            [("RESPONSE TOO LARGE".to_owned(), 1)]
        );
    }
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(include_bytes!("../fixtures/busy_v1.json")).unwrap();
    let cad = Cad::start().await;
    cad.answer(Answer::status_with_bytes(
        200,
        &[("Content-Encoding", "gzip")],
        &encoder.finish().unwrap(),
    ));
    let exporter = Running::start(&cad, &[]);
    assert_eq!(
        value(&exporter.scrape().await, "sonorancad_attached_units{server_id=\"1\"}"),
        5.0
    );
}

#[tokio::test]
async fn a_refused_connection_and_a_missing_tls_have_their_labels() {
    let cad = Cad::start().await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let https = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Closing before the client's greeting is read would reset the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let exporter = Running::start(&cad, &[("SONORANCAD_API_URL", &https)]);
    assert_eq!(
        failures(&exporter.scrape().await),
        [("TLS".to_owned(), 1)],
        "plain HTTP where TLS is expected"
    );

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let exporter = Running::start(&cad, &[("SONORANCAD_API_URL", &format!("http://{closed}"))]);
    assert_eq!(failures(&exporter.scrape().await), [("CONNECT".to_owned(), 1)]);

    let unknown_host = [
        ("SONORANCAD_API_URL", "https://host.invalid"),
        ("SONORANCAD_API_TIMEOUT", "5s"),
    ];
    let exporter = Running::start(&cad, &unknown_host);
    assert_eq!(failures(&exporter.scrape().await), [("CONNECT".to_owned(), 1)]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Cad::start().await;
    let location = other.url();
    for status in [301, 302, 303, 307, 308] {
        let answer = Answer::status(status, &[("Location", &location)], "");
        assert_failure("v1", answer.clone(), "REDIRECTED", BACK_OFF).await;
        assert_failure("v2", answer, "REDIRECTED", BACK_OFF).await;
    }
    assert!(other.requests().is_empty(), "the key did not travel");
}

#[tokio::test]
async fn an_unknown_string_of_the_api_is_taken_as_it_is() {
    assert_failure(
        "v1",
        Answer::status(400, &[], "COMMUNITY SUSPENDED"),
        "COMMUNITY SUSPENDED",
        LONG_FOR_SERVER,
    )
    .await;
    for text in [
        "TIMEOUT",
        "Bad Request",
        "NO",
        "COMMUNITY  SUSPENDED",
        "ID 12345",
        "A\\B",
        "A\"B",
        "A\nB",
    ] {
        assert_failure("v1", Answer::status(400, &[], text), "HTTP 4XX", BACK_OFF).await;
    }
    assert_failure(
        "v1",
        Answer::status(500, &[], "COMMUNITY SUSPENDED"),
        "HTTP 5XX",
        BACK_OFF,
    )
    .await;
}

#[tokio::test]
async fn a_text_that_echoes_the_key_or_the_community_never_becomes_a_label() {
    for text in [
        "SHOUTEDKEY",
        "INVALID KEY XSHOUTEDKEYX",
        "SHOUTED KEY",
        "INVALID KEY S H OUTEDKE Y",
        "INVALID KEYSHOUT EDKEYX",
        "LSPD",
        "COMMUNITY LSPD NOT ALLOWED",
    ] {
        let cad = Cad::start().await;
        cad.answer(Answer::status(400, &[], text));
        let exporter = Running::start(
            &cad,
            &[
                ("SONORANCAD_API_KEY", "ShoutedKey"),
                ("SONORANCAD_COMMUNITY_ID", "lspd"),
            ],
        );
        assert_eq!(failures(&exporter.scrape().await), [("HTTP 4XX".to_owned(), 1)]);
    }
}

#[tokio::test]
async fn at_most_twenty_unknown_strings_become_labels() {
    let cad = Cad::start().await;
    let (exporter, clock) = Running::start_at_noon(&cad, &[]);
    for letter in 'A'..='Z' {
        cad.answer(Answer::status(400, &[], &format!("ERROR {letter}")));
        exporter.scrape().await;
        clock.advance(Duration::from_secs(3600));
    }
    let failures = failures(&exporter.scrape().await);
    assert_eq!(
        failures.iter().filter(|(label, _)| label.starts_with("ERROR ")).count(),
        20
    );
    assert!(
        failures.iter().any(|(label, count)| label == "HTTP 4XX" && *count >= 6),
        "{failures:?}"
    );
}

#[tokio::test]
async fn an_error_with_a_megabyte_of_odd_text_does_not_change_the_scrape() {
    let odd_text = "QUOTE \" BACKSLASH \\ LINE\nBREAK ".repeat(40_000);
    for status in [200, 400, 429, 500] {
        let label = match status {
            200 => "INVALID RESPONSE",
            400 => "HTTP 4XX",
            429 => "RATE LIMITED",
            _ => "HTTP 5XX",
        };
        let scrape_after = async |text: &str| {
            let cad = Cad::start().await;
            cad.answer(Answer::status(status, &[], text));
            Running::start(&cad, &[]).scrape().await
        };
        let text = scrape_after(&odd_text).await;
        assert_eq!(failures(&text), [(label.to_owned(), 1)]);
        // As many samples as after a failure without a text.
        assert_eq!(text.lines().count(), scrape_after("").await.lines().count());
    }
}
