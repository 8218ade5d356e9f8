//! One scrape and many: fetches, waiting, and HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{OPEN_METRICS, Reply, Running, eventually, failures, has, reply, value};

const ONE_CALL: &str = r#"{"activeCalls":[{"callId":1,"priority":1,"status":0,"origin":0}]}"#;

/// A scrape without the counters of scrapes and without the metrics of the process.
fn without_counters(text: &str) -> String {
    let is_counter = |line: &str| line.starts_with("sonorancad_cache_") || line.starts_with("process_");
    text.lines()
        .filter(|line| !is_counter(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Scrapes over a connection of its own.
async fn scrape_apart(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Prometheus-Scrape-Timeout-Seconds: 29\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_scrapes_at_once_make_one_request() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(ONE_CALL));
    cad.hold();
    let exporter = Running::start(&cad, &[("SONORANCAD_API_TIMEOUT", "1m")]);
    let mut scrapes = JoinSet::new();
    for _ in 0..500 {
        scrapes.spawn(scrape_apart(exporter.address));
    }
    let mut polls = 0.0;
    eventually("all scrapes have come", async || {
        polls += 1.0;
        let text = exporter.scrape_within("0.05").await;
        value(
            &text,
            "sonorancad_cache_queries_total{server_id=\"1\",api_endpoint=\"calls\"}",
        ) >= 500.0 + polls
    })
    .await;
    cad.release();
    let texts = scrapes.join_all().await;
    assert_eq!(cad.requests().len(), 1);
    assert_eq!(texts.len(), 500);
    assert_eq!(value(&texts[0], "sonorancad_up{server_id=\"1\"}"), 1.0);
    for text in &texts {
        assert_eq!(without_counters(text), without_counters(&texts[0]));
    }
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_scrapers_hang_up() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(ONE_CALL));
    cad.hold();
    let exporter = Running::start(&cad, &[]);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        cad.wait_for_requests(1).await;
    }
    cad.release();
    eventually("it is up", async || {
        value(&exporter.scrape().await, "sonorancad_up{server_id=\"1\"}") == 1.0
    })
    .await;
    assert_eq!(cad.requests().len(), 1);
}

#[tokio::test]
async fn a_scrape_is_answered_before_its_client_gives_up() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(ONE_CALL));
    cad.hold();
    let exporter = Running::start(&cad, &[("SONORANCAD_API_TIMEOUT", "60s")]);
    let patient = tokio::spawn(reply(
        exporter
            .request("GET", "/metrics")
            .header("X-Prometheus-Scrape-Timeout-Seconds", "60"),
    ));
    cad.wait_for_requests(1).await;
    let begin = Instant::now();
    let text = exporter.scrape_within("0.4").await;
    assert!(begin.elapsed() >= Duration::from_millis(200), "it waited for the fetch");
    assert!(!patient.is_finished(), "the other client has more time");
    assert_eq!(value(&text, "sonorancad_up{server_id=\"1\"}"), 0.0);
    assert!(
        !has(&text, "sonorancad_active_calls"),
        "never zero, never made up:\n{text}"
    );
    cad.release();
    let reply = patient.await.unwrap();
    let unassigned = "sonorancad_unassigned_calls{server_id=\"1\",priority=\"1\"}";
    assert_eq!(value(reply.text(), unassigned), 1.0);
    assert_eq!(cad.requests().len(), 1, "the fetch went on");
}

#[tokio::test]
async fn one_slow_server_does_not_hold_back_what_is_known_of_the_other() {
    let cad = Cad::start().await;
    cad.answer_server(1, Answer::ok(ONE_CALL));
    cad.answer_server(2, Answer::BytesThenStall(Vec::new()));
    let variables = [("SONORANCAD_SERVER_IDS", "1,2"), ("SONORANCAD_API_TIMEOUT", "60s")];
    let exporter = Running::start(&cad, &variables);
    let mut text = String::new();
    eventually("the fast server is up", async || {
        text = exporter.scrape_within("0.6").await;
        value(&text, "sonorancad_up{server_id=\"1\"}") == 1.0
    })
    .await;
    assert_eq!(value(&text, "sonorancad_up{server_id=\"2\"}"), 0.0);
    assert_eq!(failures(&text), [], "the slow server's fetch has not ended");
}

#[tokio::test]
async fn a_stop_waits_for_a_scrape_and_not_for_its_fetch() {
    let cad = Cad::start().await;
    cad.hold();
    let exporter = Running::start(&cad, &[("SONORANCAD_API_TIMEOUT", "60s")]);
    let communities = exporter.communities.clone();
    let scrape = reply(
        exporter
            .request("GET", "/metrics")
            .header("X-Prometheus-Scrape-Timeout-Seconds", "1"),
    );
    let scrape = tokio::spawn(scrape);
    cad.wait_for_requests(1).await;
    exporter.stop().await;
    assert_eq!(scrape.await.unwrap().status, 200);
    let report = communities.scrape(Duration::ZERO).await;
    assert!(
        report.servers[0].calls.status.failure.is_none(),
        "the fetch has not ended: the CAD still holds its answer back"
    );
}

#[tokio::test]
async fn the_requests_are_as_the_api_documents_them() {
    let cad = Cad::start().await;
    let v1 = Running::start(&cad, &[("SONORANCAD_SERVER_IDS", "3")]);
    v1.scrape().await;
    let v2 = [
        ("SONORANCAD_API_VERSION", "v2"),
        ("SONORANCAD_SERVER_IDS", "3"),
        ("SONORANCAD_API_URL", &format!("{}/base", cad.url())),
    ];
    let v2 = Running::start(&cad, &v2);
    v2.scrape().await;

    let requests = cad.requests();
    assert_eq!(requests[0].line, "POST /emergency/get_calls HTTP/1.1");
    assert_eq!(
        requests[0].body,
        r#"{"id":"mycommunity","key":"the-secret-key","type":"GET_CALLS","data":[{"serverId":3,"closedLimit":100,"closedOffset":0}]}"#
    );
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(
        requests[1].line,
        "GET /base/v2/emergency/servers/3/calls?closedLimit=100&closedOffset=0&type=100 HTTP/1.1"
    );
    assert_eq!(requests[1].header("authorization"), Some("Bearer the-secret-key"));
    assert_eq!(requests[1].body, "");
    for request in requests {
        assert_eq!(request.header("accept"), Some("application/json"));
        assert_eq!(request.header("accept-encoding"), Some("gzip"));
        let user_agent = format!("sonorancad-exporter/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.header("user-agent"), Some(&*user_agent));
    }
}

#[tokio::test]
async fn few_closed_calls_are_asked_for_unless_there_may_be_more() {
    let cad = Cad::start().await;
    let (exporter, clock) = Running::start_at_noon(&cad, &[]);
    for closed in ["1", "1", "2", "2"] {
        cad.answer(Answer::ok(&format!(
            r#"{{"activeCalls":[],"closedCalls":[{{"callId":{closed}}}]}}"#
        )));
        exporter.scrape().await;
        clock.advance(Duration::from_secs(30));
    }
    let limits: Vec<_> = cad
        .requests()
        .iter()
        .map(|request| {
            let (_, rest) = request.body.split_once("\"closedLimit\":").unwrap();
            rest.split(',').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(limits, ["100", "10", "10", "100"]);
}

#[tokio::test]
async fn each_format_has_its_exact_content_type_and_can_be_compressed() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for (accept, content_type) in [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            OPEN_METRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let request = || exporter.request("GET", "/metrics").header("Accept", accept);
        let plain = reply(request()).await;
        assert_eq!(plain.header("content-type"), content_type);
        assert_eq!(vary(&plain), "Accept, accept-encoding");
        assert!(plain.headers.get("content-encoding").is_none());
        let zipped = reply(request().header("Accept-Encoding", "gzip")).await;
        assert_eq!(zipped.header("content-type"), content_type);
        assert_eq!(zipped.header("content-encoding"), "gzip");
        // It is complete before it is sent, so that a slow client cannot keep the text and the compressor in memory.
        assert_eq!(zipped.header("content-length"), zipped.body.len().to_string());
        assert_eq!(vary(&zipped), "Accept, accept-encoding");
        let mut unzipped = String::new();
        std::io::Read::read_to_string(&mut GzDecoder::new(&zipped.body[..]), &mut unzipped).unwrap();
        assert_eq!(without_counters(&unzipped), without_counters(plain.text()));
    }
    for excluding in ["gzip;q=0", "identity, gzip;q=0.5", "br"] {
        let plain = reply(exporter.request("GET", "/metrics").header("Accept-Encoding", excluding)).await;
        assert!(plain.headers.get("content-encoding").is_none(), "{excluding}");
    }
}

fn vary(reply: &Reply) -> String {
    let values: Vec<_> = reply
        .headers
        .get_all("vary")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    values.join(", ")
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
        let head = reply(exporter.request("HEAD", path)).await;
        let get = exporter.get(path).await;
        assert_eq!((head.status, get.status), (200, 200), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for path in ["/metric", "/metrics/", "/-/", "/probe/", "//"] {
        assert_eq!(exporter.get(path).await.status, 404, "{path}");
    }
    for path in ["/metrics", "/", "/-/healthy"] {
        for method in ["POST", "PUT", "DELETE", "TRACE"] {
            let reply = reply(exporter.request(method, path)).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("allow"), "GET,HEAD");
        }
    }
    assert!(cad.requests().is_empty());
}

#[tokio::test]
async fn options_of_every_route_are_told_as_load_balancers_check_them() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for target in ["/", "/metrics", "/probe", "/sd", "/-/healthy", "/-/ready", "*"] {
        // As HAProxy's `option httpchk` asks.
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        let request = format!("OPTIONS {target} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 204 "), "{target}: {answer}");
        assert!(answer.contains("\r\nallow: GET,HEAD\r\n"), "{target}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{target}: {answer}");
    }
    assert_eq!(reply(exporter.request("OPTIONS", "/nowhere")).await.status, 404);
    assert!(cad.requests().is_empty());
}

#[tokio::test]
async fn a_request_names_no_more_than_one_host() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for (request, status) in [
        ("GET /-/healthy HTTP/1.1\r\nHost: x\r\n", "200"),
        ("GET /-/healthy HTTP/1.1\r\n", "400"),
        ("GET /-/healthy HTTP/1.1\r\nHost: x\r\nHost: y\r\n", "400"),
        ("GET /-/healthy HTTP/1.0\r\n", "200"),
        ("GET /-/healthy HTTP/1.0\r\nHost: x\r\n", "200"),
        ("GET /-/healthy HTTP/1.0\r\nHost: x\r\nHost: y\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        let request = format!("{request}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}{answer}");
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_refused_without_reading_it() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    for header in [
        "Content-Length: 1000000000",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
    ] {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        let head = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // It ends, so that nothing more is read.
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{header}: {answer}");
    }
    let empty = reply(exporter.request("GET", "/-/healthy").header("Content-Length", "0")).await;
    assert_eq!(empty.status, 200);
    assert!(cad.requests().is_empty());
}

#[tokio::test]
async fn health_and_the_home_page_never_ask_the_api() {
    let cad = Cad::start().await;
    cad.answer(Answer::BytesThenReset(Vec::new()));
    let exporter = Running::start(&cad, &[]);
    assert_eq!(
        exporter.get("/-/healthy").await.text(),
        "sonorancad-exporter is healthy.\n"
    );
    assert_eq!(exporter.get("/-/ready").await.text(), "sonorancad-exporter is ready.\n");
    let home = exporter.get("/").await;
    assert_eq!(home.header("content-type"), "text/html; charset=utf-8");
    assert!(home.header("content-security-policy").starts_with("default-src 'none'"));
    for link in ["metrics", "-/healthy", "-/ready"] {
        assert!(home.text().contains(&format!("href=\"{link}\"")), "{link}");
    }
    // It works below any path of a reverse proxy.
    let links: Vec<_> = home.text().split(" href=\"").skip(1).collect();
    assert_eq!(links.len(), 3);
    for absolute in [" href=\"/", " src=", "://", "url("] {
        assert!(!home.text().contains(absolute), "{absolute}");
    }
    assert!(cad.requests().is_empty());
    assert_eq!(failures(&exporter.scrape().await), [("CONNECT".to_owned(), 1)]);
    assert_eq!(exporter.get("/-/healthy").await.status, 200);
    assert_eq!(exporter.get("/-/ready").await.status, 200);
}

#[tokio::test]
async fn the_home_page_links_to_the_dashboards_that_are_configured() {
    let cad = Cad::start().await;
    let url = "https://grafana.example.org/d/x?orgId=1";
    let exporter = Running::start(&cad, &[("SONORANCAD_DASHBOARD_URL", url)]);
    let home = exporter.get("/").await;
    assert!(home.text().contains(&format!("href=\"{url}\"")), "{}", home.text());
}

#[tokio::test]
async fn the_home_page_shows_the_open_calls_of_the_last_hour() {
    let cad = Cad::start().await;
    let (exporter, clock) = Running::start_at_noon(&cad, &[]);
    let mut shown = Vec::new();
    for minute in 0..70 {
        if minute < 40 {
            let pending = r#"{"priority":1,"status":0,"origin":0},"#.repeat(minute);
            cad.answer(Answer::ok(&format!(
                "{{\"activeCalls\":[{pending}{{\"priority\":1,\"status\":1,\"origin\":0}}]}}"
            )));
            exporter.scrape().await;
            // The same fetch is one sample.
            exporter.scrape().await;
        }
        let home = exporter.get("/").await;
        let title = home.text().split("role=\"img\"><title>").nth(1).unwrap();
        shown.push(title.split('<').next().unwrap().to_owned());
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(
        shown[0],
        "Now 0 pending and 1 active; at most 1 open at once in the last hour."
    );
    assert_eq!(
        shown[39],
        "Now 39 pending and 1 active; at most 40 open at once in the last hour."
    );
    // Nobody has scraped since: an answer is shown for two minutes.
    assert_eq!(shown[41], shown[39]);
    assert!(shown[42].starts_with("Now unknown"), "{}", shown[42]);
    assert_eq!(shown[69], "Now unknown; at most 40 open at once in the last hour.");
    assert_eq!(cad.requests().len(), 40);
}

#[tokio::test]
async fn bytes_that_are_not_http_get_no_answer_and_do_no_harm() {
    let cad = Cad::start().await;
    let exporter = Running::start(&cad, &[]);
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/9\r\n\r\n",
        long_head.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        // The exporter may close before all is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            !answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(exporter.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn every_listen_address_is_served() {
    let cad = Cad::start().await;
    let port = std::net::TcpListener::bind("127.0.0.2:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let addresses = format!("127.0.0.1:0,127.0.0.2:{port}");
    let exporter = Running::start(&cad, &[("SONORANCAD_LISTEN_ADDRESS", &addresses)]);
    assert_eq!(exporter.get("/-/healthy").await.status, 200);
    assert!(
        scrape_apart(SocketAddr::from(([127, 0, 0, 2], port)))
            .await
            .contains("sonorancad_up")
    );
}
