//! The listener: its sockets, the accept loop and its limits.
//!
//! No client can keep others out by holding connections open. Connections are capped. At the cap, the client with
//! the most connections loses the one that has been idle longest. A request takes at most 30 s from its first byte
//! until its response is sent, and a connection waits at most as long for its first request, TLS handshake included, and
//! 75 s for another one. Responses that clients do not take are limited in memory. The system's buffers per connection
//! are limited as well, and nothing stays in them after a connection.

mod connection;
mod stream;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use self::connection::{Connection, Connections};
use self::stream::ClientStream;
use super::config::WebConfig;
use super::guard::Guard;
use crate::process::Process;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once.
    connections: usize,
    /// The longest time for one request, and the longest wait for the first one.
    stage: Duration,
    /// The longest wait for another request.
    idle: Duration,
    /// The longest wait for responses after a stop was requested.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 512,
    stage: Duration::from_secs(30),
    // Not an interval at which anything scrapes: a connection that closes just then would fail the scrape.
    idle: Duration::from_secs(75),
    // A stop may take 5 s altogether, and the log the last of them.
    drain: Duration::from_secs(4),
};

/// The largest head of a request; Prometheus sends about 500 bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Connections that the system queues until they are accepted. When the queue is full, clients try again only
/// after a second. Linux allows this many since version 5.4.
const BACKLOG: u32 = 4096;

/// File descriptors that neither connections nor the application take: those of the log, `/proc` and the runtime.
const OTHER_FILES: usize = 64;

/// The size of each of the system's two buffers for a connection: data received but not read, and data sent but
/// not taken by the client. Linux doubles it. Without a limit, each would grow to several MiB.
const BUFFER_BYTES: usize = 64 << 10;

/// How long to wait after a failed accept.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(500);

/// When to ask again after a response for which there was no memory.
const RETRY_SECONDS: &str = "5";

/// The response to a client that speaks plain HTTP to a TLS port.
const HTTPS_ONLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\nConnection: close\r\n\r\nThis port speaks HTTPS only.\n";

/// Open sockets that are not served yet.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address is taken, or is not this machine's.
    #[error("cannot listen on {address}")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A socket that systemd handed over cannot be served.
    #[error("cannot listen on socket {number} of systemd, which must be a TCP listener (`ListenStream=` with a port)")]
    SystemdSocket {
        /// Its position in the unit, from 1.
        number: usize,
        /// What the system says.
        source: io::Error,
    },
    /// systemd handed over no sockets.
    #[error("systemd has handed over no socket; is a socket unit active for this service?")]
    NoSystemdSocket,
}

impl Listener {
    /// Opens every address. The unspecified IPv6 address, `[::]`, stands for all addresses of both families.
    ///
    /// # Errors
    ///
    /// The first address that cannot be opened.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let open = |&address| open(address).map_err(|source| ListenError::Address { address, source });
        Ok(Self {
            sockets: addresses.iter().map(open).collect::<Result<_, _>>()?,
        })
    }

    /// Takes the sockets that systemd has opened
    /// ([`sd_listen_fds`](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)).
    ///
    /// # Errors
    ///
    /// There is no socket, or the first one that cannot be served.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn from_systemd() -> Result<Self, ListenError> {
        let mut handed = ListenFd::from_env();
        if handed.len() == 0 {
            return Err(ListenError::NoSystemdSocket);
        }
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let number = index + 1;
            let mut take = || {
                let Some(socket) = handed.take_tcp_listener(index)? else {
                    return Ok(None);
                };
                let options = SockRef::from(&socket);
                if !options.is_listener()? {
                    return Err(io::Error::other("it does not listen"));
                }
                options.set_nonblocking(true)?;
                limit_buffers(&options)?;
                TcpListener::from_std(socket).map(Some)
            };
            sockets.extend(take().map_err(|source| ListenError::SystemdSocket { number, source })?);
        }
        Ok(Self { sockets })
    }

    /// The addresses that are open, with the port that the system chose where port 0 was requested.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// Serves `router` on every socket, over TLS if the web configuration says so, until `shutdown` completes and the
    /// requests in service are answered. The application needs up to `reserved_files` file descriptors.
    pub(super) async fn serve(
        self,
        router: Router,
        guard: Guard,
        reserved_files: usize,
        shutdown: impl Future<Output = ()>,
    ) {
        let max_fds = Process::read().and_then(|process| process.max_fds);
        let connections = max_connections(max_fds, reserved_files);
        if connections < LIMITS.connections {
            warn!(
                max_fds,
                connections, "the limit of open files allows only this many connections"
            );
        }
        let limits = Limits { connections, ..LIMITS };
        serve_within(limits, self.sockets, router, guard, shutdown).await;
    }
}

/// Opens one address; instead of all addresses, those of IPv4 where there is no IPv6.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    match open_exactly(address) {
        // A kernel without IPv6 refuses the socket or the address, each in its own way.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
            open_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| error)
        }
        outcome => outcome,
    }
}

fn open_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait until the system has forgotten the connections of the last run.
    socket.set_reuseaddr(true)?;
    limit_buffers(&SockRef::from(&socket))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // IPv4 too, whatever the system's default is (`net.ipv6.bindv6only`).
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Limits the system's buffers of a listening socket; accepted connections inherit that.
fn limit_buffers(socket: &SockRef) -> io::Result<()> {
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.set_recv_buffer_size(BUFFER_BYTES)
}

/// The limit of connections, lower if there are fewer file descriptors: a new connection needs one
/// before another connection can be evicted for it.
fn max_connections(max_fds: Option<u64>, reserved_files: usize) -> usize {
    let max_fds = max_fds.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let files = max_fds.saturating_sub(OTHER_FILES + reserved_files);
    files.clamp(1, LIMITS.connections)
}

/// Serves connections; each has its own clone.
#[derive(Clone)]
struct Service {
    limits: Limits,
    router: TowerToHyperService<Router>,
    guard: Guard,
    connections: Arc<Connections>,
    /// The tasks of the sockets and the connections.
    tasks: TaskTracker,
    stopping: CancellationToken,
}

async fn serve_within(
    limits: Limits,
    sockets: Vec<TcpListener>,
    router: Router,
    guard: Guard,
    shutdown: impl Future<Output = ()>,
) {
    let service = Service {
        limits,
        router: TowerToHyperService::new(guard.catch_panics(router)),
        guard,
        connections: Arc::new(Connections::new(limits.connections)),
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
    };
    for socket in sockets {
        let accepting = accept(socket, service.clone());
        let accepting = service.stopping.clone().run_until_cancelled_owned(accepting);
        service.tasks.spawn(accepting);
    }
    shutdown.await;
    service.stopping.cancel();
    service.tasks.close();
    if timeout(limits.drain, service.tasks.wait()).await.is_err() {
        debug!("some connections were still open at the end");
    }
}

/// Accepts connections for ever, each served in a task of its own.
async fn accept(socket: TcpListener, service: Service) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                if let Some(connection) = service.connections.open(client(address.ip())).await {
                    service.tasks.spawn(service.clone().serve(stream, connection));
                } else {
                    debug!("a connection is refused: its client has enough of them");
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_INTERVAL).await;
            }
        }
    }
}

/// The client that an address belongs to. For IPv6 it is the network of 64 bits, since a host can use every
/// address in it.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

impl Service {
    async fn serve(self, tcp: TcpStream, connection: Connection) {
        // If this fails, only a little latency is lost.
        let _ = tcp.set_nodelay(true);
        let mut stream = ClientStream {
            tcp,
            connection: &connection,
        };
        tokio::select! {
            // First, so that a request that comes just as the connection is to close is answered.
            biased;
            _ = self.serve_stream(&mut stream) => {}
            () = connection.overdue(self.limits.stage) => debug!("a connection timed out"),
            () = connection.evicted() => debug!("a connection was evicted"),
        }
        // After a stop, the system delivers the rest.
        if !self.stopping.is_cancelled() {
            stream.reset();
        }
    }

    /// Serves a connection until both sides have closed it, or the exporter stops. `None` if the client broke off.
    async fn serve_stream(&self, stream: &mut ClientStream<'_>) -> Option<()> {
        let connection = stream.connection;
        if let Some(tls) = self.guard.config.current().tls.clone() {
            let shaking_hands = shake_hands(&mut *stream, TlsAcceptor::from(tls.clone()));
            if let Some(stream) = self.stopping.run_until_cancelled(shaking_hands).await? {
                connection.wait();
                let is_current = |config: &WebConfig| config.tls.as_ref().is_some_and(|now| Arc::ptr_eq(now, &tls));
                self.serve_http(stream, connection, is_current).await?;
            }
        } else {
            let is_current = |config: &WebConfig| config.tls.is_none();
            self.serve_http(&mut *stream, connection, is_current).await?;
        }
        connection.wait();
        self.stopping.run_until_cancelled(stream.linger()).await?.ok()
    }

    /// Serves one request after another, until the exporter has closed the connection. `None` if the client broke off, or
    /// sent something that is not HTTP. Once `is_current` says that the connection no longer fits the web configuration
    /// (made in plain text, with another certificate or under other rules for clients), it ends with its next response.
    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        connection: &Connection,
        is_current: impl Fn(&WebConfig) -> bool,
    ) -> Option<()> {
        let service = service_fn(async |request| {
            let mut response = self.respond(connection, request).await;
            if !is_current(&self.guard.config.current()) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        });
        let mut http = pin!(
            http1::Builder::new()
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            biased;
            ended = http.as_mut() => return ended.ok(),
            () = connection.idle(self.limits.idle) => debug!("an idle connection is closed"),
            () = self.stopping.cancelled() => {}
        }
        // Not a reset: a client that sends a request at this moment can tell that it may try again.
        http.as_mut().graceful_shutdown();
        http.await.ok()
    }

    /// The response to one request. From the moment the router gets the request until it has made the
    /// response, the request counts as in service, which protects the connection from eviction.
    async fn respond(&self, connection: &Connection, request: Request<Incoming>) -> Response {
        let mut response = match self.guard.admit(&request, connection.address).await {
            Ok(is_user) => {
                connection.begin_service(is_user);
                let Ok(response) = self.router.call(request).await;
                response
            }
            Err(refusal) => refusal,
        };
        // A body of unknown size is made as the client takes it.
        if !connection.answer(response.body().size_hint().exact().unwrap_or_default()) {
            debug!("a response is refused: too many others have not been taken");
            response = (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_SECONDS)]).into_response();
        }
        self.guard.add_headers(&mut response);
        response
    }
}

/// The stream within TLS. `None` if the client and the configuration do not agree, or if the client speaks plain
/// HTTP, which it is told.
async fn shake_hands(
    stream: &mut ClientStream<'_>,
    acceptor: TlsAcceptor,
) -> Option<impl AsyncRead + AsyncWrite + Unpin> {
    let mut first = [0];
    let length = stream.tcp.peek(&mut first).await.ok()?;
    // A method of HTTP begins with a capital; a TLS handshake begins with byte 22.
    if length == 1 && first[0].is_ascii_uppercase() {
        let _ = stream.write_all(HTTPS_ONLY).await;
        let _ = stream.shutdown().await;
        return None;
    }
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((error, stream)) => {
            debug!(%error, "the TLS handshake failed");
            // Sends the alert that tells the client why.
            let _ = stream.shutdown().await;
            None
        }
    }
}

#[cfg(test)]
mod tests;
