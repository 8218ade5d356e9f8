use std::time::Instant as StdInstant;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A listener within small limits that answers `GET /` at once and `GET /slow` never.
struct House {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl House {
    async fn open(connections: usize, stage: Duration) -> Self {
        let limits = Limits {
            connections,
            stage,
            drain: Duration::from_millis(300),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<()>));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve_within(limits, vec![socket], router, async {
            let _ = stopped.await;
        }));
        Self { address, stop, serving }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    /// Whether a new client gets its answer.
    async fn answers(&self) -> bool {
        let mut stream = self.connect(REQUEST).await;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 200 OK"
    }
}

/// Waits until the other side has closed.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn at_the_limit_the_one_that_waited_longest_makes_room() {
    let house = House::open(3, Duration::from_secs(60)).await;
    let oldest = house.connect(b"").await;
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(house.connect(b"GET / HT").await);
    }
    assert!(house.answers().await);
    closed(oldest).await;
    let mut byte = [0];
    for other in &others {
        assert!(other.try_read(&mut byte).is_err(), "a younger one is still open");
    }
}

#[test]
fn there_are_no_more_connections_than_files() {
    assert_eq!(most_connections(None), 512);
    assert_eq!(most_connections(Some(1024)), 512);
    assert_eq!(most_connections(Some(200)), 136);
    assert_eq!(most_connections(Some(3)), 1);
}

#[tokio::test]
async fn a_request_in_service_is_not_cut_to_make_room() {
    let house = House::open(2, Duration::from_secs(60)).await;
    let busy = house.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        house.answers().await,
        "served, so that the slow request is in service by now"
    );
    let waiting = house.connect(b"GET / HT").await;
    assert!(house.answers().await);
    timeout(Duration::from_secs(5), closed(waiting))
        .await
        .expect("it makes room");
    assert!(busy.try_read(&mut [0]).is_err(), "it is still open");
}

#[tokio::test]
async fn no_connection_stands_still() {
    let house = House::open(10, Duration::from_millis(200)).await;
    for sent in [&b""[..], b"GET / HT", b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", REQUEST] {
        let begin = StdInstant::now();
        closed(house.connect(sent).await).await;
        let open = begin.elapsed();
        assert!(
            open >= Duration::from_millis(200) && open < Duration::from_secs(2),
            "{open:?}"
        );
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_standing_still() {
    let house = House::open(10, Duration::from_millis(200)).await;
    let mut stream = house.connect(b"GET / HTTP/1.1\r\nX: ").await;
    let begin = StdInstant::now();
    while stream.write_all(b"x").await.is_ok() && begin.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_closed() {
    let house = House::open(10, Duration::from_millis(200)).await;
    let mut stream = house.connect(REQUEST).await;
    let begin = StdInstant::now();
    let many = REQUEST.repeat(1000);
    // Answers pile up unread until the exporter reads no more requests.
    while matches!(
        timeout(Duration::from_secs(5), stream.write_all(&many)).await,
        Ok(Ok(()))
    ) {}
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_stop_closes_what_waits_and_cuts_what_does_not_end() {
    let house = House::open(10, Duration::from_secs(60)).await;
    let clients = [
        house.connect(b"").await,
        house.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await,
    ];
    assert!(house.answers().await);
    let begin = StdInstant::now();
    house.stop.send(()).unwrap();
    house.serving.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(TcpStream::connect(house.address).await.is_err());
    drop(clients);
}
