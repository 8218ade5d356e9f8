//! The exporter under attackers: a good scrape is right and answered in time, and memory and files stay bounded.
//!
//! `SIEGE_SECONDS=600 cargo test --release --test siege hostile_on_both_sides -- --nocapture` lasts for ten minutes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::{eventually, value};
use crate::support::program::{Program, command};

/// More than the listener takes.
const MANY: usize = 600;

/// How soon a good scrape is answered; a debug build on a busy machine may take longer.
const PROMPT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });

/// Where the besiegers come from; the good scrape comes from another address.
const ATTACKER: &str = "127.0.0.2";

/// A bcrypt hash of "secret", of a usual cost.
const HASH: &str = "$2y$10$bbR4qBS0yBvYYwvGVXyqZukMeJTKOfKqTRDln28W//hW6T.fj4qz6";

/// What the system says of a process.
#[derive(Debug)]
struct Usage {
    kib: u64,
    files: usize,
}

fn usage(program: &Program) -> Usage {
    Usage {
        kib: program.kibibytes("VmRSS"),
        files: std::fs::read_dir(format!("/proc/{}/fd", program.child.id()))
            .unwrap()
            .count(),
    }
}

/// Lets this process open enough sockets.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// A connection from another address than the good scrape's, on which this is sent.
async fn connect(address: SocketAddr, sent: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ATTACKER}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.ok()?;
    stream.write_all(sent).await.ok()?;
    Some(stream)
}

/// Connections that stay open for as long as the exporter lets them.
async fn connect_many(address: SocketAddr, count: usize, sent: &'static [u8]) -> Vec<TcpStream> {
    let attempts: JoinSet<_> = (0..count).map(|_| connect(address, sent)).collect();
    attempts.join_all().await.into_iter().flatten().collect()
}

/// How long a good request takes; it must be answered with 200.
async fn time(address: SocketAddr, path: &str, header: &str) -> Duration {
    get(address, path, header).await.0
}

/// The same, with the answer.
async fn get(address: SocketAddr, path: &str, header: &str) -> (Duration, String) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    (begin.elapsed(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_and_idle_connections_keep_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    let quiet = time(program.address, "/metrics", "").await;
    let before = usage(&program);
    let half_sent = connect_many(program.address, MANY, b"GET /metrics HTTP/1.1\r\nX-Half: ").await;
    let idle = connect_many(program.address, MANY, b"").await;
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(time(program.address, "/metrics", "").await);
    }
    let during = usage(&program);
    drop((half_sent, idle));
    eventually("all is closed", async || usage(&program).files <= before.files).await;
    let after = usage(&program);
    let slowest = times.iter().max().unwrap();
    eprintln!("before {before:?} {quiet:?}, during {during:?} {slowest:?}, after {after:?}");
    assert!(*slowest < PROMPT, "{times:?}");
    assert!(during.files <= before.files + 512, "{during:?}");
    assert!(during.kib < before.kib + 32 * 1024, "{before:?} {during:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_connecting_keeps_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    time(program.address, "/metrics", "").await;
    let mut attackers = JoinSet::new();
    for number in 0..MANY {
        let address = program.address;
        let sent: &[u8] = [&b""[..], b"GET / HT", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"][number % 3];
        attackers.spawn(async move {
            loop {
                let Some(mut stream) = connect(address, sent).await else {
                    continue;
                };
                let _ = timeout(Duration::from_millis(200), stream.read_to_end(&mut Vec::new())).await;
            }
        });
    }
    for _ in 0..20 {
        let took = time(program.address, "/metrics", "").await;
        assert!(took < PROMPT, "{took:?}");
    }
    attackers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_a_password_keep_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, format!("basic_auth_users: {{alice: {HASH}}}\n")).unwrap();
    let program = Program::start(command(&cad, &[("SONORANCAD_WEB_CONFIG_FILE", file.to_str().unwrap())]));
    // alice:guess
    let guess = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6Z3Vlc3M=\r\n\r\n";
    let guesses = connect_many(program.address, MANY, guess).await;
    assert!(guesses.len() > 512);
    // alice:secret
    let right = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    let first = time(program.address, "/metrics", right).await;
    let known = time(program.address, "/metrics", right).await;
    // She is let in at the besiegers' own address, too: a guess that waits is not in service.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{right}\r\n");
    let mut beside_them = connect(program.address, request.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    let begin = Instant::now();
    beside_them.read_exact(&mut answer).await.unwrap();
    assert!(answer == *b"HTTP/1.1 200 OK" && begin.elapsed() < PROMPT);
    eprintln!("under 600 guesses: first {first:?}, then {known:?}");
    assert!(first < 5 * PROMPT && known < PROMPT, "{first:?} {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_that_wait_for_the_api_keep_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    cad.answer(Answer::BytesThenStall(Vec::new()));
    let program = Program::start(command(&cad, &[("SONORANCAD_API_TIMEOUT", "1m")]));
    let patient = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
    let scrapes = connect_many(program.address, MANY, patient).await;
    assert!(scrapes.len() > 512);
    for _ in 0..5 {
        let took = time(
            program.address,
            "/metrics",
            "X-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n",
        )
        .await;
        assert!(took < PROMPT, "{took:?}");
    }
}

/// Answers of APIs that do their worst, none of which ends before its time.
fn hostile_answers() -> Vec<Answer> {
    let stream = |start: &[u8], part: Vec<u8>, times, pause| {
        Answer::Stream(Stream {
            start: start.to_vec(),
            part: part.into(),
            times,
            pause,
            end: Vec::new(),
        })
    };
    let ok = b"HTTP/1.1 200 OK\r\n";
    let calls: String = (0..20_000)
        .map(|_| r#"{"callId":7,"priority":"x","status":9,"origin":[],"idents":[1]},"#)
        .collect();
    vec![
        // Without end.
        stream(b"HTTP/1.1 200 OK\r\n\r\n", vec![b' '; 1 << 16], 800, Duration::ZERO),
        // A head without end.
        stream(
            ok,
            b"X-Pad: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(200),
            1000,
            Duration::ZERO,
        ),
        // Drop by drop.
        stream(
            b"HTTP/1.1 200 OK\r\n\r\n",
            b" ".to_vec(),
            usize::MAX,
            Duration::from_millis(20),
        ),
        stream(
            b"HTTP/1.1 200 OK\r\n\r\n{\"a\":",
            vec![b'['; 1 << 16],
            100,
            Duration::ZERO,
        ),
        Answer::status(200, &[("Content-Encoding", "gzip")], "no gzip at all"),
        Answer::status(302, &[("Location", "http://127.0.0.1:1/")], ""),
        Answer::status(500, &[], &"<html>".repeat(100_000)),
        Answer::status(400, &[], "SOMETHING IN CAPITALS"),
        Answer::ok(&format!("{{\"activeCalls\":[{calls}7]}}")),
        Answer::BytesThenReset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
        Answer::BytesThenEnd(Vec::new()),
        Answer::BytesThenStall(b"HTTP/1.1 2".to_vec()),
    ]
}

/// What one besieger does over and over: it sends this, and takes the answer, or a part, or nothing.
async fn attack(address: SocketAddr, sent: Vec<u8>, takes: usize) {
    loop {
        if let Some(mut stream) = connect(address, &sent).await {
            let mut answer = vec![0; takes];
            let _ = timeout(Duration::from_millis(500), stream.read_exact(&mut answer)).await;
            if takes == 1 {
                // It hangs up with a reset.
                let _ = stream.set_zero_linger();
            }
        }
        // However fast the exporter is, this is a siege of so many, not a test of the machine.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn attacks() -> Vec<(Vec<u8>, usize)> {
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n").into_bytes();
    vec![
        (Vec::new(), 100),
        (b"GET /metrics HTTP/1.1\r\nX: ".to_vec(), 100),
        (get("/metrics", ""), 1),
        (get("/metrics", "Accept-Encoding: gzip\r\n"), 10_000),
        (get("/metrics", "").repeat(50), 100),
        (get("/", ""), 1000),
        (
            get("/probe?community=c3", "X-Prometheus-Scrape-Timeout-Seconds: 60\r\n"),
            1,
        ),
        (get("/probe?community=%00", ""), 100),
        (get("/sd", "Host: y\r\n"), 100),
        (get("/metrics", &format!("X: {}\r\n", "x".repeat(100_000))), 100),
        (get("/metrics", &"X: x\r\n".repeat(1000)), 100),
        (get("/metrics", "Content-Length: 1000000000\r\n"), 100),
        (get("/metrics", "Transfer-Encoding: chunked\r\n"), 100),
        (get("/metrics", "Authorization: Basic YWxpY2U6Z3Vlc3M=\r\n"), 100),
        (vec![0x16, 3, 1, 255, 255, 1], 100),
        ((0..=255).cycle().take(5000).collect(), 100),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_scrape_is_right_though_all_is_hostile_on_both_sides() {
    raise_limit();
    let seconds = std::env::var("SIEGE_SECONDS").map_or(10, |seconds| seconds.parse().unwrap());
    let cad = Cad::start().await;
    cad.answer(Answer::ok(
        r#"{"activeCalls":[{"callId":1,"priority":1,"status":0,"origin":0}]}"#,
    ));
    let mut hostile = Vec::new();
    for answer in hostile_answers() {
        let cad = Cad::start().await;
        cad.answer(answer);
        hostile.push(cad);
    }
    let folder = tempdir().unwrap();
    let file = folder.path().join("communities.yml");
    // Other keys make other communities, of which nothing is known and no back-off is left.
    let write = |round: usize| {
        let communities = hostile.iter().enumerate().map(|(number, cad)| {
            format!(
                "c{number}: {{community_id: c, api_key: k{round}, api_url: '{}', api_timeout: 3s, cache_ttl: 1s}}\n",
                cad.url()
            )
        });
        std::fs::write(&file, communities.collect::<String>()).unwrap();
    };
    write(0);
    let mut program = Program::start(command(
        &cad,
        &[
            ("SONORANCAD_COMMUNITIES_FILE", file.to_str().unwrap()),
            ("SONORANCAD_CACHE_TTL", "1s"),
            ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
        ],
    ));
    let address = program.address;
    let mut attackers = JoinSet::new();
    for (sent, takes) in attacks().into_iter().cycle().take(10 * attacks().len()) {
        attackers.spawn(attack(address, sent, takes));
    }
    for number in 0..hostile.len() {
        attackers.spawn(attack(
            address,
            format!("GET /probe?community=c{number} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
            50_000,
        ));
    }
    let (mut scrapes, mut slowest, mut usages) = (0, Duration::ZERO, Vec::new());
    let begin = Instant::now();
    for round in 1.. {
        for _ in 0..50 {
            let (took, text) = get(address, "/metrics", "").await;
            let pending =
                "sonorancad_active_calls{server_id=\"1\",priority=\"1\",status=\"pending\",origin=\"caller\"}";
            assert_eq!(value(&text, pending), 1.0);
            assert_eq!(value(&text, "sonorancad_up{server_id=\"1\"}"), 1.0);
            assert_eq!(value(&text, "sonorancad_exporter_panics_total"), 0.0);
            (scrapes, slowest) = (scrapes + 1, slowest.max(took));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        usages.push(usage(&program));
        // On a busy machine the first round can take all the time.
        if round > 1 && begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        write(round);
        Program::signal("HUP", program.child.id());
    }
    attackers.shutdown().await;
    let fetches: usize = hostile.iter().map(|cad| cad.requests().len()).sum();
    eprintln!(
        "{scrapes} good scrapes in {:?}, the slowest {slowest:?}; {fetches} hostile answers",
        begin.elapsed()
    );
    for (number, usage) in usages
        .iter()
        .enumerate()
        .filter(|(number, _)| number % usages.len().div_ceil(12) == 0)
    {
        eprintln!("round {number}: {usage:?}");
    }
    assert!(slowest < 2 * PROMPT, "{slowest:?}");
    assert!(fetches > hostile.len());
    eventually("all is closed", async || usage(&program).files < 40).await;
    let after = usage(&program);
    eprintln!("after: {after:?}");
    assert!(after.kib < 256 * 1024, "{after:?}");
    Program::signal("TERM", program.child.id());
    assert_eq!(program.wait().0, Some(0));
    let output = program.output();
    assert!(!output.contains("a fault of the exporter"), "{output}");
}
