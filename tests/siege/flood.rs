//! The exporter under attack: a good scrape is right and is let in, and memory and open files stay bounded.
//!
//! No test here measures how fast a scrape is answered, since that depends on the machine. A scrape that is not let in
//! would have to wait for the attackers, so the tests count what the attackers got in the meantime.
//!
//! `SIEGE_SECONDS=600 cargo test --release --test siege clients_and_apis_are_hostile -- --nocapture` lasts for ten minutes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::cad::{Answer, Cad, Stream};
use crate::support::exporter::{HANG_GUARD, eventually, failures, value};
use crate::support::program::{Program, command};

/// The most connections that the listener keeps open.
const MAX_CONNECTIONS: usize = 512;

/// More than that.
const MANY: usize = 600;

/// Memory of a connection: what it buffers of a request and of an answer.
const CONNECTION_KIB: u64 = 64;

/// The address of the attackers. The good scrape comes from another one.
const ATTACKER: &str = "127.0.0.2";

/// A bcrypt hash of "secret", of the least cost.
const HASH: &str = "$2y$04$Lt7wxwoC9d8RLvNUGd2HW.wN6bpFhCoJbEeM66j6UlobLA5wCe9zW";

/// Memory and open files of a process.
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

/// A connection from the attackers' address, on which `sent` is sent.
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

/// How many of these connections are open and have got no answer, and how many have got one.
///
/// The rest was closed by the listener.
fn count(streams: &[TcpStream]) -> (usize, usize) {
    let states: Vec<_> = streams.iter().map(|stream| stream.try_read(&mut [0])).collect();
    let waiting = states.iter().filter(|state| {
        let error = state.as_ref().err();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    (
        waiting.count(),
        states.iter().filter(|state| matches!(state, Ok(1))).count(),
    )
}

/// The answer to a good request, which must be 200.
async fn get(address: SocketAddr, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(HANG_GUARD, stream.read_to_string(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_and_idle_connections_shut_no_client_out() {
    const HALF: &[u8] = b"GET /metrics HTTP/1.1\r\nX-Half: ";
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    get(program.address, "/metrics", "").await;
    let before = usage(&program);
    // As many as there may be: none of them has to make way for another attacker.
    let mut attackers = connect_many(program.address, MAX_CONNECTIONS / 2, HALF).await;
    attackers.append(&mut connect_many(program.address, MAX_CONNECTIONS / 2, b"").await);
    for _ in 0..20 {
        get(program.address, "/metrics", "").await;
    }
    // Each scrape took the place of one. Had the first waited for a time-out, half of them would be gone.
    let (still_open, _) = count(&attackers);
    assert!(still_open >= MAX_CONNECTIONS - 40, "{still_open}");
    for sent in [HALF, b""] {
        attackers.append(&mut connect_many(program.address, MANY, sent).await);
    }
    get(program.address, "/metrics", "").await;
    let during = usage(&program);
    drop(attackers);
    eventually("all is closed", async || usage(&program).files <= before.files).await;
    let after = usage(&program);
    eprintln!("before {before:?}, during {during:?} with {still_open} open, after {after:?}");
    assert!(during.files <= before.files + MAX_CONNECTIONS, "{during:?}");
    let growth = during.kib.saturating_sub(before.kib);
    assert!(
        growth <= MAX_CONNECTIONS as u64 * CONNECTION_KIB,
        "{before:?} {during:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_connecting_shuts_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    get(program.address, "/metrics", "").await;
    let connections = Arc::new(AtomicUsize::new(0));
    let mut attackers = JoinSet::new();
    for number in 0..MANY {
        let (address, connections) = (program.address, connections.clone());
        let sent: &[u8] = [&b""[..], b"GET / HT", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"][number % 3];
        attackers.spawn(async move {
            loop {
                let Some(mut stream) = connect(address, sent).await else {
                    continue;
                };
                connections.fetch_add(1, Ordering::Relaxed);
                let _ = timeout(Duration::from_millis(200), stream.read_to_end(&mut Vec::new())).await;
            }
        });
    }
    let mut most = 0;
    for _ in 0..20 {
        let before = connections.load(Ordering::Relaxed);
        get(program.address, "/metrics", "").await;
        most = most.max(connections.load(Ordering::Relaxed) - before);
    }
    attackers.shutdown().await;
    eprintln!("at most {most} connections of attackers during a good scrape");
    // It may have to wait for the connections in front of it that the system has queued, and not for more of them.
    assert!(most < 20 * MANY, "{most}");
}

/// Sends one wrong password after the other on one connection, and counts the answers.
async fn guess(address: SocketAddr, attacker: usize, answers: Arc<AtomicUsize>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for number in 0.. {
        let guess = BASE64_STANDARD.encode(format!("alice:guess {attacker} {number}"));
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {guess}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"required.\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 401 "));
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_from_the_scrapers_own_address_do_not_shut_it_out() {
    const ATTACKERS: usize = 12;
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, format!("basic_auth_users: {{alice: {HASH}}}\n")).unwrap();
    let program = Program::start(command(&cad, &[("SONORANCAD_WEB_CONFIG_FILE", file.to_str().unwrap())]));
    let address = program.address;
    let answers = Arc::<AtomicUsize>::default();
    let _attackers: JoinSet<_> = (0..ATTACKERS)
        .map(|attacker| guess(address, attacker, answers.clone()))
        .collect();
    let answered = async |count| {
        while answers.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    answered(ATTACKERS).await;
    // alice:secret
    let right = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    // A scraper whose patience ends before as many others are answered as are there. In a line, it would never get its turn.
    let mut attempts = 0;
    loop {
        attempts += 1;
        let patience = answers.load(Ordering::Relaxed) + ATTACKERS / 2;
        tokio::select! {
            _ = get(address, "/metrics", right) => break,
            () = answered(patience) => assert!(attempts < 50, "it is shut out"),
        }
    }
    eprintln!(
        "let in at attempt {attempts}, among {} wrong passwords",
        answers.load(Ordering::Relaxed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_taken_fill_no_memory() {
    const CLIENTS: usize = 200;
    /// All of them together.
    const MAX_UNSENT_KIB: u64 = 64 << 10;
    raise_limit();
    let cad = Cad::start().await;
    let servers: Vec<_> = (1..=100).map(|id| id.to_string()).collect();
    let program = Program::start(command(&cad, &[("SONORANCAD_SERVER_IDS", &servers.join(","))]));
    let size = get(program.address, "/metrics", "").await.len();
    let before = usage(&program);
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut clients = connect_many(program.address, CLIENTS, request).await;
    let mut refused = 0;
    for client in &mut clients {
        // No more of it.
        let mut start = [0; 12];
        let is_read = timeout(HANG_GUARD, client.read_exact(&mut start))
            .await
            .unwrap()
            .is_ok();
        refused += usize::from(is_read && start == *b"HTTP/1.1 503");
    }
    let most = program.kibibytes("VmHWM");
    get(program.address, "/metrics", "").await;
    drop(clients);
    eprintln!("answers of {size} bytes: {refused} refused of {CLIENTS}; {before:?}, at most {most} KiB");
    assert!(refused > 0);
    let growth = most.saturating_sub(before.kib);
    assert!(
        growth <= MAX_UNSENT_KIB + MAX_CONNECTIONS as u64 * CONNECTION_KIB,
        "{growth} KiB"
    );
    get(program.address, "/metrics", "").await;
}

/// Starts a program with more lines of its log than the system buffers and it keeps itself, none of which is read.
async fn start_unread(cad: &Cad) -> (Child, SocketAddr, TempDir) {
    let folder = tempdir().unwrap();
    let file = folder.path().join("communities.yml");
    let communities =
        (0..20_000).map(|number| format!("c{number}: {{community_id: c, api_key: k, api_url: '{}'}}\n", cad.url()));
    std::fs::write(&file, communities.collect::<String>()).unwrap();
    // A port that is free, since the log that names it is not read.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let variables = [
        ("SONORANCAD_COMMUNITIES_FILE", file.to_str().unwrap()),
        ("SONORANCAD_LISTEN_ADDRESS", &address.to_string()),
    ];
    let mut command = command(cad, &variables);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    eventually("it listens", async || TcpStream::connect(address).await.is_ok()).await;
    (child, address, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing_and_says_what_it_lost() {
    let cad = Cad::start().await;
    let (mut child, address, _folder) = start_unread(&cad).await;
    get(address, "/-/healthy", "").await;
    get(address, "/metrics", "").await;
    Program::signal("TERM", child.id());
    eventually("it stops", async || child.try_wait().unwrap().is_some()).await;
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (mut child, address, _folder) = start_unread(&cad).await;
    get(address, "/-/healthy", "").await;
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let lost = lines
        .map(Result::unwrap)
        .find(|line| line.contains("lines of the log are lost"));
    eprintln!("{}", lost.expect("a line"));
    Program::signal("TERM", child.id());
    eventually("it stops", async || child.try_wait().unwrap().is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_that_wait_for_the_api_shut_no_client_out() {
    raise_limit();
    let cad = Cad::start().await;
    cad.answer(Answer::BytesThenStall(Vec::new()));
    let program = Program::start(command(&cad, &[("SONORANCAD_API_TIMEOUT", "1m")]));
    let patient = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
    let scrapes = connect_many(program.address, MANY, patient).await;
    assert!(scrapes.len() > 512);
    for _ in 0..5 {
        let text = get(
            program.address,
            "/metrics",
            "X-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n",
        )
        .await;
        assert_eq!(failures(&text), [], "the fetch has not ended");
    }
    let (waiting, answered) = count(&scrapes);
    assert!(waiting > MAX_CONNECTIONS / 2 && answered == 0, "{waiting} {answered}");
}

/// Answers of hostile APIs.
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
        // An endless body.
        stream(b"HTTP/1.1 200 OK\r\n\r\n", vec![b' '; 1 << 16], 800, Duration::ZERO),
        // An endless head.
        stream(
            ok,
            b"X-Pad: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(200),
            1000,
            Duration::ZERO,
        ),
        // A body byte by byte.
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

/// One attacker: it sends this over and over, and reads some bytes of the answer. Counts its `attempts`.
async fn attack(address: SocketAddr, sent: Vec<u8>, takes: usize, attempts: Arc<AtomicUsize>) {
    loop {
        if let Some(mut stream) = connect(address, &sent).await {
            let mut answer = vec![0; takes];
            let _ = timeout(Duration::from_millis(500), stream.read_exact(&mut answer)).await;
            if takes == 1 {
                // Closing it sends a reset.
                let _ = stream.set_zero_linger();
            }
        }
        attempts.fetch_add(1, Ordering::Relaxed);
        // A fixed number of attackers, however fast the exporter is.
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
async fn a_scrape_is_right_while_clients_and_apis_are_hostile() {
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
    // Other keys make new communities, without a snapshot or a back-off.
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
    let before = usage(&program);
    let attempts = Arc::new(AtomicUsize::new(0));
    let mut attackers = JoinSet::new();
    for (sent, takes) in attacks().into_iter().cycle().take(10 * attacks().len()) {
        attackers.spawn(attack(address, sent, takes, attempts.clone()));
    }
    for number in 0..hostile.len() {
        attackers.spawn(attack(
            address,
            format!("GET /probe?community=c{number} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
            50_000,
            attempts.clone(),
        ));
    }
    let (mut scrapes, mut most, mut usages) = (0, 0, Vec::new());
    let begin = Instant::now();
    for round in 1.. {
        for _ in 0..50 {
            let attempts_before = attempts.load(Ordering::Relaxed);
            let text = get(address, "/metrics", "").await;
            most = most.max(attempts.load(Ordering::Relaxed) - attempts_before);
            let pending =
                "sonorancad_active_calls{server_id=\"1\",priority=\"1\",status=\"pending\",origin=\"caller\"}";
            assert_eq!(value(&text, pending), 1.0);
            assert_eq!(value(&text, "sonorancad_up{server_id=\"1\"}"), 1.0);
            assert_eq!(value(&text, "sonorancad_exporter_panics_total"), 0.0);
            scrapes += 1;
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
    let attackers_count = attackers.len();
    attackers.shutdown().await;
    let fetches: usize = hostile.iter().map(|cad| cad.requests().len()).sum();
    eprintln!(
        "{scrapes} good scrapes among {} attacks, at most {most} during one; {fetches} hostile answers",
        attempts.load(Ordering::Relaxed)
    );
    for (number, usage) in usages
        .iter()
        .enumerate()
        .filter(|(number, _)| number % usages.len().div_ceil(12) == 0)
    {
        eprintln!("round {number}: {usage:?}");
    }
    // A scrape that had to wait for the attackers' time-outs would see each of them try many times.
    assert!(most < 10 * attackers_count, "{most}");
    assert!(fetches > hostile.len());
    eventually("all is closed", async || usage(&program).files < 40).await;
    let after = usage(&program);
    eprintln!("before: {before:?}, after: {after:?}");
    // What is kept is bounded by what may be in use at once: two of the largest answers and all connections.
    let most_in_use = 2 * (48 << 10) + MAX_CONNECTIONS as u64 * CONNECTION_KIB;
    let growth = after.kib.saturating_sub(before.kib);
    assert!(growth <= most_in_use, "{growth} KiB");
    Program::signal("TERM", program.child.id());
    assert_eq!(program.wait(), Some(0));
    let output = program.output();
    assert!(!output.contains("a fault of the exporter"), "{output}");
}
