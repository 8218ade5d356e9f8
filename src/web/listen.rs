//! The accept loop and its limits.
//!
//! Nobody can keep others out by holding connections: there is a most of them, at which the one that
//! has waited longest without a request in service makes room for a new one; and no connection stays
//! in one stage (waiting for a request, answering it) for more than 30 s.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use crate::process::Process;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once.
    connections: usize,
    /// The longest stay in one stage.
    stage: Duration,
    /// The longest wait for answers once it is to stop.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    connections: 512,
    stage: Duration::from_secs(30),
    // A stop may take 5 s altogether.
    drain: Duration::from_millis(4500),
};

/// The largest head of a request; Prometheus sends about 500 bytes.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// File descriptors that are not for connections: the API, the log, `/proc`.
const OTHER_FILES: u64 = 64;

/// How long to wait for a closed connection to be gone before the next one is closed.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);

/// How long to wait after a failed accept.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(500);

/// Serves `router` on every socket until `shutdown` completes and the rest is drained.
pub(super) async fn serve(sockets: Vec<TcpListener>, router: Router, shutdown: impl Future<Output = ()>) {
    let connections = most_connections(Process::read().and_then(|process| process.max_fds));
    serve_within(Limits { connections, ..LIMITS }, sockets, router, shutdown).await;
}

/// The limit of connections, or fewer where there are not as many file descriptors: without one for a
/// new connection, none could make room.
fn most_connections(max_fds: Option<u64>) -> usize {
    let files = max_fds.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES).max(1);
    usize::try_from(files).map_or(LIMITS.connections, |files| files.min(LIMITS.connections))
}

async fn serve_within(limits: Limits, sockets: Vec<TcpListener>, router: Router, shutdown: impl Future<Output = ()>) {
    let connections = Arc::new(Connections::new(limits));
    let (stop, stopping) = watch::channel(());
    let mut accepting = JoinSet::new();
    for socket in sockets {
        accepting.spawn(accept(socket, connections.clone(), router.clone(), stopping.clone()));
    }
    shutdown.await;
    accepting.shutdown().await;
    drop(stop);
    if timeout(limits.drain, connections.all_closed()).await.is_err() {
        debug!("some connections were still open at the end");
    }
}

/// Accepts connections for ever, each served in a task of its own.
async fn accept(socket: TcpListener, connections: Arc<Connections>, router: Router, stopping: watch::Receiver<()>) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let connection = connections.open().await;
                tokio::spawn(serve_connection(stream, connection, router.clone(), stopping.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_INTERVAL).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    connection: OpenConnection,
    router: Router,
    mut stopping: watch::Receiver<()>,
) {
    // Only a little latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let stages = &connection.stages;
    let service = service_fn(|request: Request<Incoming>| {
        stages.enter(Stage::Answering);
        let response = router.call(request);
        async move {
            let response = response.await;
            stages.enter(Stage::Waiting);
            response
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // First, so that a request that comes just as the connection is to close is answered.
        biased;
        // An error is the client's: it broke off, or sent something that is not HTTP.
        _ = serving.as_mut() => {}
        () = stages.close.notified() => {
            debug!("a connection made room");
            // It was asked to while it waited; a request that has come since is answered.
            if stages.waiting_since().is_none() {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
        () = stages.outstayed(connection.connections.limits.stage) => debug!("a connection stood still"),
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// The open connections.
#[derive(Debug)]
struct Connections {
    limits: Limits,
    slots: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Stages>>>,
    next_id: AtomicU64,
}

/// One open connection, while it is served.
struct OpenConnection {
    connections: Arc<Connections>,
    id: u64,
    stages: Arc<Stages>,
    _slot: OwnedSemaphorePermit,
}

/// What one connection is at.
#[derive(Debug)]
struct Stages {
    current: Mutex<(Stage, Instant)>,
    /// Asks the connection to close.
    close: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For a whole head of a request, or for its answer to be taken.
    Waiting,
    Answering,
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: Arc::new(Semaphore::new(limits.connections)),
            open: Mutex::default(),
            next_id: AtomicU64::default(),
        }
    }

    /// Opens a connection; at the limit, others that wait are closed until there is room.
    async fn open(self: &Arc<Self>) -> OpenConnection {
        let slot = loop {
            if self.slots.available_permits() == 0 {
                self.close_longest_waiting();
            }
            if let Ok(Ok(slot)) = timeout(ROOM_INTERVAL, self.slots.clone().acquire_owned()).await {
                break slot;
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let stages = Arc::new(Stages {
            current: Mutex::new((Stage::Waiting, Instant::now())),
            close: Notify::new(),
        });
        self.open.lock().insert(id, stages.clone());
        OpenConnection {
            connections: self.clone(),
            id,
            stages,
            _slot: slot,
        }
    }

    fn close_longest_waiting(&self) {
        let mut open = self.open.lock();
        let waiting = open
            .iter()
            .filter_map(|(id, stages)| Some((stages.waiting_since()?, *id)));
        if let Some((_, id)) = waiting.min()
            && let Some(stages) = open.remove(&id)
        {
            stages.close.notify_one();
        }
    }

    async fn all_closed(&self) {
        let slots = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        // An error would mean that the semaphore is closed, which it never is.
        let _ = self.slots.acquire_many(slots).await;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.id);
    }
}

impl Stages {
    fn enter(&self, stage: Stage) {
        *self.current.lock() = (stage, Instant::now());
    }

    fn waiting_since(&self) -> Option<Instant> {
        let (stage, since) = *self.current.lock();
        (stage == Stage::Waiting).then_some(since)
    }

    /// Completes when the connection has been in one stage for longer than `limit`.
    async fn outstayed(&self, limit: Duration) {
        loop {
            let (_, since) = *self.current.lock();
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

#[cfg(test)]
mod tests;
