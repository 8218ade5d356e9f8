//! The listener under siege: a good scrape is answered in time, and memory and files stay bounded.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cad::{Answer, Cad};
use crate::exporter::eventually;
use crate::program::{Program, command};
use crate::tools::Folder;

/// More than the listener takes.
const MANY: usize = 600;

/// Where the besiegers come from; the good scrape comes from another address.
const BESIEGER: &str = "127.0.0.2";

/// A bcrypt hash of "secret", of a usual cost.
const HASH: &str = "$2y$10$bbR4qBS0yBvYYwvGVXyqZukMeJTKOfKqTRDln28W//hW6T.fj4qz6";

/// What the system says of a process.
#[derive(Debug)]
struct Usage {
    kib: u64,
    files: usize,
}

fn usage(program: &Program) -> Usage {
    let process = format!("/proc/{}", program.child.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let (_, rest) = status.split_once("VmRSS:").unwrap();
    Usage {
        kib: rest.split_whitespace().next().unwrap().parse().unwrap(),
        files: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
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
async fn besiege(address: SocketAddr, sent: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{BESIEGER}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.ok()?;
    stream.write_all(sent).await.ok()?;
    Some(stream)
}

/// Connections that stay open for as long as the exporter lets them.
async fn besiege_with(address: SocketAddr, count: usize, sent: &'static [u8]) -> Vec<TcpStream> {
    let attempts: JoinSet<_> = (0..count).map(|_| besiege(address, sent)).collect();
    attempts.join_all().await.into_iter().flatten().collect()
}

/// How long a good request takes; it must be answered with 200.
async fn time(address: SocketAddr, path: &str, header: &str) -> Duration {
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
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_and_idle_connections_keep_nobody_out() {
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    let quiet = time(program.address, "/metrics", "").await;
    let before = usage(&program);
    let half_sent = besiege_with(program.address, MANY, b"GET /metrics HTTP/1.1\r\nX-Half: ").await;
    let idle = besiege_with(program.address, MANY, b"").await;
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
    assert!(*slowest < Duration::from_secs(1), "{times:?}");
    assert!(during.files <= before.files + 512, "{during:?}");
    assert!(during.kib < before.kib + 32 * 1024, "{before:?} {during:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_stops_connecting_keeps_nobody_out() {
    raise_limit();
    let cad = Cad::start().await;
    let program = Program::start(command(&cad, &[]));
    time(program.address, "/metrics", "").await;
    let mut siege = JoinSet::new();
    for number in 0..MANY {
        let address = program.address;
        let sent: &[u8] = [&b""[..], b"GET / HT", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"][number % 3];
        siege.spawn(async move {
            loop {
                let Some(mut stream) = besiege(address, sent).await else {
                    continue;
                };
                let _ = timeout(Duration::from_millis(200), stream.read_to_end(&mut Vec::new())).await;
            }
        });
    }
    for _ in 0..20 {
        let took = time(program.address, "/metrics", "").await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    siege.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_a_password_keep_nobody_out() {
    raise_limit();
    let cad = Cad::start().await;
    let folder = Folder::new();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, format!("basic_auth_users: {{alice: {HASH}}}\n")).unwrap();
    let program = Program::start(command(&cad, &[("SONORANCAD_WEB_CONFIG_FILE", file.to_str().unwrap())]));
    // alice:guess
    let guess = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6Z3Vlc3M=\r\n\r\n";
    let guesses = besiege_with(program.address, MANY, guess).await;
    assert!(guesses.len() > 512);
    // alice:secret
    let right = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    let first = time(program.address, "/metrics", right).await;
    let known = time(program.address, "/metrics", right).await;
    eprintln!("under 600 guesses: first {first:?}, then {known:?}");
    assert!(
        first < Duration::from_secs(5) && known < Duration::from_secs(1),
        "{first:?} {known:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_that_wait_for_the_api_keep_nobody_out() {
    raise_limit();
    let cad = Cad::start().await;
    cad.answer(Answer::BytesThenStall(Vec::new()));
    let program = Program::start(command(&cad, &[("SONORANCAD_API_TIMEOUT", "1m")]));
    let patient = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
    let scrapes = besiege_with(program.address, MANY, patient).await;
    assert!(scrapes.len() > 512);
    for _ in 0..5 {
        let took = time(
            program.address,
            "/metrics",
            "X-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n",
        )
        .await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
