use std::path::Path;
use std::time::Instant as StdInstant;

use axum::routing::get;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use tokio::net::TcpSocket;

use super::super::reload::ReloadingConfig;
use super::*;

/// How long a test waits before it fails as hung. Far above what a busy machine needs.
const HANG_GUARD: Duration = Duration::from_secs(60);

/// A limit that no test reaches.
const NO_LIMIT: Duration = Duration::from_secs(3600);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// What the system's buffers hold, but not those of a client that reads nothing.
const PAGE_BYTES: usize = 64 << 10;

/// A listener within small limits that answers `GET /` at once, `GET /sleep` after a while, `GET /slow`
/// never, `GET /page` with some KiB, `GET /large` with more than any buffer holds, and `GET /panic` with a fault.
struct Server {
    address: std::net::SocketAddr,
    guard: Guard,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn open(connections: usize, stage: Duration) -> Self {
        Self::configured(connections, stage, None).await
    }

    async fn configured(connections: usize, stage: Duration, config: Option<&Path>) -> Self {
        let limits = Limits {
            connections,
            stage,
            idle: stage,
            drain: Duration::from_millis(300),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<()>))
            .route("/sleep", get(async || sleep(Duration::from_millis(900)).await))
            .route("/panic", get(async || -> () { panic!("as this test wants it") }))
            .route("/page", get(async || vec![b'x'; PAGE_BYTES]))
            .route("/large", get(async || vec![b'x'; 32 << 20]));
        let guard = Guard::new(Arc::new(ReloadingConfig::open(config).unwrap()));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve_within(limits, vec![socket], router, guard.clone(), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            guard,
            stop,
            serving,
        }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    /// Connects from another address of this machine.
    async fn connect_from(&self, address: &str, sent: &[u8]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    /// Connects as a client that gets little before it reads.
    async fn connect_with_little_room(&self, sent: &[u8]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    /// Whether a new client gets its answer.
    async fn answers(&self) -> bool {
        is_answered(&mut self.connect(REQUEST).await).await
    }
}

/// Whether an answer comes, and is good.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 200 OK"
}

const LAST_REQUEST: &[u8] = b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

const SLOW_REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

/// Waits until the other side has closed.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn at_the_limit_the_one_that_waited_longest_makes_room() {
    let server = Server::open(3, NO_LIMIT).await;
    let oldest = server.connect(b"").await;
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(server.connect(b"GET / HT").await);
    }
    assert!(server.answers().await);
    closed(oldest).await;
    let mut byte = [0];
    for other in &others {
        assert!(other.try_read(&mut byte).is_err(), "a younger one is still open");
    }
}

#[test]
fn there_are_no_more_connections_than_files() {
    assert_eq!(max_connections(None, 160), 512);
    assert_eq!(max_connections(Some(1024), 160), 512);
    assert_eq!(max_connections(Some(300), 160), 76);
    assert_eq!(max_connections(Some(3), 160), 1);
}

#[tokio::test]
async fn a_request_in_service_is_not_cut_to_make_room() {
    let server = Server::open(2, NO_LIMIT).await;
    let busy = server.connect(SLOW_REQUEST).await;
    assert!(
        server.answers().await,
        "served, so that the slow request is in service by now"
    );
    let waiting = server.connect(b"GET / HT").await;
    assert!(server.answers().await);
    timeout(HANG_GUARD, closed(waiting)).await.expect("it makes room");
    assert!(busy.try_read(&mut [0]).is_err(), "it is still open");
}

#[tokio::test]
async fn no_connection_stands_still() {
    let server = Server::open(10, Duration::from_millis(200)).await;
    for sent in [&b""[..], b"GET / HT", SLOW_REQUEST, REQUEST] {
        let begin = StdInstant::now();
        let stream = server.connect(sent).await;
        timeout(HANG_GUARD, closed(stream)).await.expect("it is closed");
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }
}

#[tokio::test]
async fn an_idle_connection_ends_without_a_reset() {
    let server = Server::open(10, Duration::from_millis(200)).await;
    let mut stream = server.connect(REQUEST).await;
    assert!(is_answered(&mut stream).await);
    let mut rest = Vec::new();
    let end = timeout(HANG_GUARD, stream.read_to_end(&mut rest))
        .await
        .expect("it ends");
    end.expect("no reset");
    // The client has not closed, and is not waited for.
    timeout(HANG_GUARD, async {
        while stream.write_all(REQUEST).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it is reset in the end");
}

/// A client of a connection that is served as in use, with this web configuration.
async fn client_of(config: Option<&Path>) -> TcpStream {
    let connections = Arc::new(Connections::new(1));
    let connection = connections.open(Ipv4Addr::LOCALHOST.into()).await.unwrap();
    let service = Service {
        limits: LIMITS,
        router: TowerToHyperService::new(Router::new().route("/", get(async || "hello"))),
        guard: Guard::new(Arc::new(ReloadingConfig::open(config).unwrap())),
        connections,
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    let (stream, _) = socket.accept().await.unwrap();
    tokio::spawn(service.serve(stream, connection));
    client
}

/// Scrapes on one connection, and what its end is.
#[tokio::test(start_paused = true)]
async fn a_connection_lives_from_one_scrape_to_the_next_at_common_intervals() {
    for (seconds, lives) in [(15, true), (30, true), (60, true), (90, false), (120, false)] {
        let mut client = client_of(None).await;
        let mut answers = 0;
        for _ in 0..10 {
            if client.write_all(REQUEST).await.is_err() {
                break;
            }
            let mut answer = [0; 1024];
            let length = client.read(&mut answer).await.unwrap();
            answers += u32::from(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
            if length == 0 {
                break;
            }
            sleep(Duration::from_secs(seconds)).await;
        }
        assert_eq!(answers, if lives { 10 } else { 1 }, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_has_time_to_close_after_an_idle_connection_has_ended() {
    let mut client = client_of(None).await;
    client.write_all(REQUEST).await.unwrap();
    let begin = tokio::time::Instant::now();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), LIMITS.idle.as_secs());
    sleep(LIMITS.stage * 9 / 10).await;
    client.write_all(REQUEST).await.expect("it has not been reset");
    sleep(LIMITS.stage / 5).await;
    client.write_all(REQUEST).await.expect_err("it has been reset");
}

#[tokio::test]
async fn the_system_buffers_at_most_128_kib_in_each_direction() {
    let listener = Listener::open(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let _client = TcpStream::connect(listener.local_addresses()[0]).await.unwrap();
    let (stream, _) = listener.sockets[0].accept().await.unwrap();
    let options = SockRef::from(&stream);
    let sizes = [options.send_buffer_size(), options.recv_buffer_size()];
    assert_eq!(sizes.map(Result::unwrap), [128 << 10; 2]);
}

#[tokio::test]
async fn the_head_of_a_request_may_have_16_kib() {
    let server = Server::open(2, NO_LIMIT).await;
    for (bytes, is_served) in [(15 << 10, true), (17 << 10, false)] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(bytes));
        let mut stream = server.connect(request.as_bytes()).await;
        assert_eq!(is_answered(&mut stream).await, is_served, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_handshake_and_the_wait_for_the_first_request_have_one_limit() {
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    let (certificate, key) = (authority.cert.pem(), authority.signing_key.serialize_pem());
    let text = format!("tls_server_config: {{cert: {certificate:?}, key: {key:?}}}\n");
    std::fs::write(&path, text).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();

    let mut client = client_of(Some(&path)).await;
    let begin = tokio::time::Instant::now();
    let mut sent = Vec::new();
    tls.write_tls(&mut sent).unwrap();
    client.write_all(&sent[..1]).await.unwrap();
    sleep(LIMITS.stage * 2 / 3).await;
    sent.remove(0);
    while tls.is_handshaking() {
        client.write_all(&sent).await.unwrap();
        let mut received = [0; 4096];
        let length = client.read(&mut received).await.unwrap();
        tls.read_tls(&mut &received[..length]).unwrap();
        tls.process_new_packets().unwrap();
        sent.clear();
        tls.write_tls(&mut sent).unwrap();
    }
    client.write_all(&sent).await.unwrap();
    closed(client).await;
    assert_eq!(begin.elapsed().as_secs(), LIMITS.stage.as_secs());
}

#[tokio::test]
async fn one_byte_at_a_time_is_standing_still() {
    let server = Server::open(10, Duration::from_millis(200)).await;
    let mut stream = server.connect(b"GET / HTTP/1.1\r\nX: ").await;
    let trickle = async {
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG_GUARD, trickle).await.expect("it is closed");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_closed() {
    let server = Server::open(10, Duration::from_millis(200)).await;
    let mut stream = server.connect(REQUEST).await;
    let many = REQUEST.repeat(1000);
    // Answers pile up unread until the exporter reads no more requests.
    let flood = async { while stream.write_all(&many).await.is_ok() {} };
    timeout(HANG_GUARD, flood).await.expect("it is closed");
}

#[tokio::test]
async fn a_stop_closes_what_waits_and_cuts_what_does_not_end() {
    let server = Server::open(10, NO_LIMIT).await;
    let clients = [server.connect(b"").await, server.connect(SLOW_REQUEST).await];
    assert!(server.answers().await);
    server.stop.send(()).unwrap();
    timeout(HANG_GUARD, server.serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(clients);
}

#[tokio::test]
async fn the_limit_counts_from_the_first_byte_to_the_end_of_the_answer() {
    let server = Server::open(10, Duration::from_secs(1)).await;
    let begin = StdInstant::now();
    let mut stream = server.connect(b"GET /slow HTTP/1.1\r\n").await;
    sleep(Duration::from_millis(350)).await;
    let later = server.connect(b"").await;
    sleep(Duration::from_millis(350)).await;
    // On a busy machine, the limit may have passed already.
    let _ = stream.write_all(b"Host: x\r\n\r\n").await;
    tokio::select! {
        biased;
        () = closed(stream) => {}
        () = closed(later) => panic!("the limit began again with the second part"),
    }
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_wait_for_a_request_is_no_part_of_it() {
    let server = Server::open(10, Duration::from_millis(1500)).await;
    let mut stream = server.connect(b"").await;
    for _ in 0..2 {
        sleep(Duration::from_millis(900)).await;
        stream
            .write_all(b"GET /sleep HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(
            is_answered(&mut stream).await,
            "the wait and the request are each within the limit"
        );
        let mut rest = [0; 1024];
        assert!(stream.read(&mut rest).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_evicted_and_keeps_no_slot() {
    let server = Server::open(2, NO_LIMIT).await;
    let mut takers = Vec::new();
    for _ in 0..6 {
        let mut taker = server.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(is_answered(&mut taker).await);
        takers.push(taker);
    }
    assert!(server.answers().await);
}

#[tokio::test]
async fn where_all_are_in_service_the_client_with_the_most_gives_way_to_others() {
    let server = Server::open(3, NO_LIMIT).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(server.connect(SLOW_REQUEST).await);
        // Its request is in service before the next one comes.
        sleep(Duration::from_millis(50)).await;
    }
    let mut other = server.connect_from("127.0.0.2", REQUEST).await;
    assert!(timeout(HANG_GUARD, is_answered(&mut other)).await.unwrap());
    drop(other);
    closed(greedy.remove(0)).await;
    for stream in &greedy {
        assert!(
            stream.try_read(&mut [0]).is_err(),
            "a younger request is still in service"
        );
    }

    // One more of the same client is one too many, which holds up nobody.
    greedy.push(server.connect(SLOW_REQUEST).await);
    let one_too_many = server.connect(SLOW_REQUEST).await;
    timeout(HANG_GUARD, closed(one_too_many)).await.expect("it is closed");
    for stream in &greedy {
        assert!(stream.try_read(&mut [0]).is_err(), "they are still in service");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_password_is_not_in_service() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    let hash = bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap();
    std::fs::write(&path, format!("basic_auth_users: {{alice: {hash}}}\n")).unwrap();
    let server = Server::configured(2, NO_LIMIT, Some(&path)).await;
    // "alice:guess", which is refused after a second.
    let guess = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6Z3Vlc3M=\r\n\r\n";
    let oldest = server.connect(guess).await;
    let _other = server.connect(guess).await;
    sleep(Duration::from_millis(50)).await;
    let _newcomer = server.connect(b"").await;
    timeout(HANG_GUARD, closed(oldest)).await.expect("it makes room");
}

#[tokio::test]
async fn a_client_with_all_in_service_evicts_no_other() {
    let server = Server::open(4, NO_LIMIT).await;
    // It has not asked yet.
    let mut other = server.connect_from("127.0.0.2", b"GET / HT").await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(server.connect(SLOW_REQUEST).await);
        sleep(Duration::from_millis(50)).await;
    }
    closed(server.connect(SLOW_REQUEST).await).await;
    other.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(is_answered(&mut other).await);
    for stream in &greedy {
        assert!(stream.try_read(&mut [0]).is_err(), "they are still in service");
    }
}

#[tokio::test]
async fn where_each_client_has_one_in_service_the_oldest_gives_way_to_another() {
    let server = Server::open(3, NO_LIMIT).await;
    let mut clients = Vec::new();
    for address in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        clients.push(server.connect_from(address, SLOW_REQUEST).await);
        sleep(Duration::from_millis(50)).await;
    }
    let mut newcomer = server.connect_from("127.0.0.4", REQUEST).await;
    assert!(timeout(HANG_GUARD, is_answered(&mut newcomer)).await.unwrap());
    closed(clients.remove(0)).await;
    for stream in &clients {
        assert!(stream.try_read(&mut [0]).is_err(), "they are still in service");
    }
}

/// The bytes that the system keeps for clients of this port after the exporter has closed the connection.
fn left_behind(port: u16) -> u64 {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = sockets
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let orphans = sockets.filter(|socket| socket[1].ends_with(&format!(":{port:04X}")) && socket[9] == "0");
    orphans
        .map(|socket| u64::from_str_radix(socket[4].split(':').next().unwrap(), 16).unwrap())
        .sum()
}

#[tokio::test]
async fn nothing_stays_behind_of_a_client_that_takes_no_answer() {
    let server = Server::open(4, Duration::from_millis(500)).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = server.connect_with_little_room(LAST_REQUEST).await;
        assert!(is_answered(&mut client).await);
        if number % 2 == 0 {
            client.shutdown().await.unwrap();
        }
        clients.push(client);
        assert_eq!(left_behind(server.address.port()), 0);
    }
    sleep(Duration::from_millis(700)).await;
    assert_eq!(left_behind(server.address.port()), 0);
    for client in clients {
        let mut rest = Vec::new();
        let end = { client }.read_to_end(&mut rest).await;
        assert!(end.is_err() && rest.len() < PAGE_BYTES, "it was reset");
    }
}

#[tokio::test]
async fn a_client_that_is_slow_to_take_the_last_answer_gets_all_of_it() {
    let server = Server::open(4, NO_LIMIT).await;
    for closes_before in [false, true] {
        let mut client = server.connect_with_little_room(LAST_REQUEST).await;
        client.write_all(b"what nobody asked for").await.unwrap();
        if closes_before {
            assert!(is_answered(&mut client).await);
            client.shutdown().await.unwrap();
        }
        sleep(Duration::from_millis(300)).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > PAGE_BYTES);
    }
}

#[test]
fn an_ipv6_network_is_one_client() {
    let same = |one: &str, other: &str| client(one.parse().unwrap()) == client(other.parse().unwrap());
    assert!(same("2001:db8::1", "2001:db8::ffff:2"));
    assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    assert!(!same("192.0.2.1", "192.0.2.2"));
}

#[tokio::test]
async fn a_fault_is_answered_and_counted_and_the_connection_lives_on() {
    let server = Server::open(10, NO_LIMIT).await;
    let mut stream = server.connect(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(
        answer.starts_with("HTTP/1.1 500 ") && !answer.contains("as this test wants it"),
        "{answer}"
    );
    stream.write_all(REQUEST).await.unwrap();
    assert!(is_answered(&mut stream).await);
    assert_eq!(server.guard.panics(), 1);
}

#[tokio::test]
async fn a_client_with_many_small_requests_is_evicted_before_one_that_waits() {
    let server = Server::open(4, NO_LIMIT).await;
    // It is still shaking hands, or waits for its password to be checked.
    let mut other = server.connect_from("127.0.0.2", b"GET / HT").await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect(REQUEST).await;
        assert!(
            is_answered(&mut stream).await,
            "it has waited for less long than the other"
        );
        greedy.push(stream);
    }
    assert!(server.answers().await);
    other.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(is_answered(&mut other).await);
}
