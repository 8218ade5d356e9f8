//! A fake CAD on a real socket: its answers are scripted, and may be late, broken or missing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sonorancad_exporter::clock::{ManualClock, Now};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

use crate::support::exporter::HANG_GUARD;

/// A fake CAD that listens until it is dropped.
pub(crate) struct Cad {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    accepting: tokio::task::JoinHandle<()>,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes; the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    BytesThenEnd(Vec<u8>),
    /// These bytes, then a reset.
    BytesThenReset(Vec<u8>),
    /// These bytes, then nothing for ever.
    BytesThenStall(Vec<u8>),
    /// Parts without end, or nearly so.
    Stream(Stream),
}

/// An answer that is made while it is sent, so that it is never in memory as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) start: Vec<u8>,
    /// What follows the start, again and again.
    pub(crate) part: Arc<[u8]>,
    /// How often it does.
    pub(crate) times: usize,
    /// The wait before each part.
    pub(crate) pause: Duration,
    /// What follows the last part; the connection stays open.
    pub(crate) end: Vec<u8>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The first line: method, target and version.
    pub(crate) line: String,
    /// The header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// When it came, on the clock of [`Cad::keep_time`].
    pub(crate) at: Option<Now>,
}

struct Script {
    /// The answer for a server id, or for all of them.
    answers: Mutex<Vec<(Option<u32>, Answer)>>,
    /// The answer to a request for the list of servers.
    servers: Mutex<Answer>,
    /// The answer to a request for units.
    units: Mutex<Answer>,
    /// The answer to all requests in version v1 of the API, if they have one of their own.
    v1: Mutex<Option<Answer>>,
    requests: watch::Sender<Vec<Request>>,
    /// The bytes that are sent to each client before its request.
    greeting: Mutex<Vec<u8>>,
    /// How many connections are open.
    connections: watch::Sender<usize>,
    /// How each TLS session began.
    handshakes: Mutex<Vec<HandshakeKind>>,
    /// How many answers of [`Answer::BytesThenStall`] have been sent.
    stalls: watch::Sender<usize>,
    /// While true, requests wait.
    held: watch::Sender<bool>,
    /// The clock, and how long an answer takes on it.
    clock: Mutex<Option<(ManualClock, Duration)>>,
}

impl Answer {
    /// Status 200 with a body, unlabelled as v1 does.
    pub(crate) fn ok(body: &str) -> Self {
        Self::status(200, &[], body)
    }

    /// Any status, with more headers.
    pub(crate) fn status(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        Self::status_with_bytes(status, headers, body.as_bytes())
    }

    pub(crate) fn status_with_bytes(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    pub(crate) fn problem(status: u16, body: &str) -> Self {
        Self::status(
            status,
            &[("Content-Type", "application/problem+json; charset=utf-8")],
            body,
        )
    }
}

impl Stream {
    /// `start`, then `part` without end.
    pub(crate) fn endless(start: &[u8], part: &[u8]) -> Self {
        Self {
            start: start.to_vec(),
            part: part.into(),
            times: usize::MAX,
            pause: Duration::ZERO,
            end: Vec::new(),
        }
    }

    async fn write_to(&self, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        stream.write_all(&self.start).await?;
        for _ in 0..self.times {
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            stream.write_all(&self.part).await?;
        }
        stream.write_all(&self.end).await
    }
}

impl Cad {
    /// A CAD over plain HTTP, whose lists are empty.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::start_with(Some(acceptor)).await
    }

    async fn start_with(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script {
            answers: Mutex::new(vec![(
                None,
                Answer::ok(r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#),
            )]),
            servers: Mutex::new(Answer::ok(r#"{"servers":[{"id":1},{"id":2}]}"#)),
            units: Mutex::new(Answer::ok("[]")),
            v1: Mutex::default(),
            requests: watch::Sender::default(),
            greeting: Mutex::default(),
            connections: watch::Sender::default(),
            handshakes: Mutex::default(),
            stalls: watch::Sender::default(),
            held: watch::Sender::default(),
            clock: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, acceptor, script.clone()));
        Self {
            address,
            script,
            accepting,
        }
    }

    /// The address for `SONORANCAD_API_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, every server answers so.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.script.answers.lock() = vec![(None, answer)];
    }

    /// From now on, this server answers so.
    pub(crate) fn answer_server(&self, server_id: u32, answer: Answer) {
        let mut answers = self.script.answers.lock();
        answers.retain(|(id, _)| *id != Some(server_id));
        answers.push((Some(server_id), answer));
    }

    /// From now on, requests for units are answered so; at first, none is on duty.
    pub(crate) fn answer_units(&self, answer: Answer) {
        *self.script.units.lock() = answer;
    }

    /// From now on, all requests in version v1 of the API are answered so; `None`: like those in version v2.
    pub(crate) fn answer_v1(&self, answer: Option<Answer>) {
        *self.script.v1.lock() = answer;
    }

    /// From now on, this is the list of servers; at first, it contains 1 and 2.
    pub(crate) fn answer_servers(&self, answer: Answer) {
        *self.script.servers.lock() = answer;
    }

    /// From now on, requests wait for [`Cad::release`].
    pub(crate) fn hold(&self) {
        self.script.held.send_replace(true);
    }

    /// Answers what waits, and all that comes.
    pub(crate) fn release(&self) {
        self.script.held.send_replace(false);
    }

    /// From now on, requests are dated by `clock`, and an answer takes `latency` on it.
    pub(crate) fn keep_time(&self, clock: &ManualClock, latency: Duration) {
        *self.script.clock.lock() = Some((clock.clone(), latency));
    }

    /// From now on, these bytes are sent to each client before its request.
    pub(crate) fn greet(&self, bytes: &[u8]) {
        *self.script.greeting.lock() = bytes.to_vec();
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.requests.borrow().clone()
    }

    /// The requests since this was called last.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        let mut taken = Vec::new();
        self.script
            .requests
            .send_modify(|requests| taken = std::mem::take(requests));
        taken
    }

    /// How each TLS session has begun so far.
    pub(crate) fn handshakes(&self) -> Vec<HandshakeKind> {
        self.script.handshakes.lock().clone()
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        let mut requests = self.script.requests.subscribe();
        let have_come = requests.wait_for(|requests| requests.len() >= count);
        timeout(HANG_GUARD, have_come)
            .await
            .expect("the requests come")
            .unwrap();
    }

    /// Waits until this many answers have been sent that stall at their end.
    pub(crate) async fn wait_for_stalls(&self, count: usize) {
        let mut stalls = self.script.stalls.subscribe();
        let have_stalled = stalls.wait_for(|stalls| *stalls >= count);
        timeout(HANG_GUARD, have_stalled)
            .await
            .expect("the answers stall")
            .unwrap();
    }

    /// Waits until at most this many connections are open.
    pub(crate) async fn wait_for_connections(&self, most: usize) {
        let mut connections = self.script.connections.subscribe();
        let have_gone = connections.wait_for(|connections| *connections <= most);
        timeout(HANG_GUARD, have_gone)
            .await
            .expect("the connections end")
            .unwrap();
    }
}

impl Drop for Cad {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Arc<Script>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (script, acceptor) = (script.clone(), acceptor.clone());
        tokio::spawn(async move {
            let _connection = Connection::open(&script);
            match acceptor {
                None => serve(stream, &script).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let handshake = stream.get_ref().1.handshake_kind();
                        script.handshakes.lock().extend(handshake);
                        serve(stream, &script).await;
                    }
                }
            }
        });
    }
}

/// A connection that is counted until it is dropped.
struct Connection<'a>(&'a Script);

impl<'a> Connection<'a> {
    fn open(script: &'a Script) -> Self {
        script.connections.send_modify(|connections| *connections += 1);
        Self(script)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.connections.send_modify(|connections| *connections -= 1);
    }
}

/// A connection that can be reset.
trait Resettable: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Resettable for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Resettable for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve(mut stream: impl Resettable, script: &Script) {
    let greeting = script.greeting.lock().clone();
    if stream.write_all(&greeting).await.is_err() {
        return;
    }
    while let Some(mut request) = read_request(&mut stream).await {
        let clock = script.clock.lock().clone();
        request.at = clock
            .as_ref()
            .map(|(clock, _)| sonorancad_exporter::clock::Clock::Manual(clock.clone()).now());
        let answer = script.answer_to(&request);
        script.requests.send_modify(|requests| requests.push(request));
        let _ = script.held.subscribe().wait_for(|held| !held).await;
        if let Some((clock, latency)) = clock {
            clock.advance(latency);
        }
        match answer {
            Answer::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Answer::BytesThenEnd(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Answer::BytesThenReset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                // Dropped with unsent data discarded, the socket sends a reset.
                stream.socket().set_zero_linger().unwrap();
                return;
            }
            Answer::BytesThenStall(bytes) => {
                if stream.write_all(&bytes).await.is_ok() {
                    script.stalls.send_modify(|stalls| *stalls += 1);
                }
                // Until the client closes the connection.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            Answer::Stream(answer) => {
                if answer.write_to(&mut stream).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads one request with a body of `Content-Length`.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        line,
        headers,
        body: String::from_utf8(body).ok()?,
        at: None,
    })
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| &**value)
    }

    /// The version of the API in which it is asked.
    pub(crate) fn version(&self) -> &'static str {
        if self.line.contains(" /v2/") { "v2" } else { "v1" }
    }

    /// Whether it asks for units.
    pub(crate) fn is_for_units(&self) -> bool {
        self.line.contains("units")
    }

    /// The server that is asked for, in the body (v1) or in the target (v2).
    pub(crate) fn server_id(&self) -> Option<u32> {
        if let Some((_, rest)) = self.line.split_once("/servers/") {
            return rest.split('/').next()?.parse().ok();
        }
        let (_, rest) = self.body.split_once("\"serverId\":")?;
        rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
    }
}

impl Script {
    fn answer_to(&self, request: &Request) -> Answer {
        if request.version() == "v1"
            && let Some(answer) = self.v1.lock().clone()
        {
            return answer;
        }
        if request.line.contains("/general/") {
            return self.servers.lock().clone();
        }
        if request.is_for_units() {
            return self.units.lock().clone();
        }
        let answers = self.answers.lock();
        let server_id = request.server_id();
        let own = answers.iter().find(|(id, _)| id.is_some() && *id == server_id);
        own.or_else(|| answers.iter().find(|(id, _)| id.is_none()))
            .unwrap()
            .1
            .clone()
    }
}
