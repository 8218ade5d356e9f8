//! The open connections: how many there may be, how far each has come, and which one is evicted.
//!
//! | stage | event | next stage |
//! |---|---|---|
//! | waiting, idle | bytes arrive | receiving |
//! | waiting, idle, receiving | the router gets a request | in service |
//! | in service | the router has made the response | sending |
//! | waiting, idle, receiving | the request is refused | sending |
//! | sending | all bytes are written | idle |
//! | idle | no other request is served, or the limit for idle connections has passed | waiting, for the client to close |
//!
//! A pipelined request is in the buffer already, so that it comes into service without new bytes. If it comes while
//! sending, the next stage is in service as well.
//!
//! At the limit, a connection in any stage except in service can be evicted. One in service is
//! preempted only for a client with fewer connections. No server library has this rule, so it is
//! written here.

mod clients;
mod unsent;

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::clients::{Client, Clients};

/// How long to wait for a closed connection to be gone before the next one is closed.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// How far each one has come.
    connections: Vec<Arc<Mutex<Progress>>>,
    clients: Clients,
}

/// One connection, while it is open; dropping it frees its slot.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Arc<Connections>,
    /// An IPv4 address, or an IPv6 network.
    pub(super) address: IpAddr,
    progress: Arc<Mutex<Progress>>,
    _slot: OwnedSemaphorePermit,
}

/// How far a connection has come, and for whom.
#[derive(Debug)]
struct Progress {
    client: Client,
    stage: Stage,
    /// When the request began, or the wait for one.
    began_at: Instant,
    /// When a request came into service, or the client took some of a response, or the connection was opened.
    active_at: Instant,
    /// The bytes of the response that is being written, also while the client takes only a part of them.
    unsent: u64,
    /// Whether it has been asked to close.
    is_closing: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first byte of the first request has not arrived, or the client is to close.
    Waiting,
    /// The first byte of the next request has not arrived.
    Idle,
    /// A request has begun, but is not in service yet.
    Receiving,
    /// A request is in service.
    InService,
    /// Its response is being written.
    Sending,
}

impl Connections {
    /// Allows this many connections at once.
    pub(super) fn new(max: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max)),
            open: Mutex::new(Open {
                connections: Vec::new(),
                clients: Clients::new(),
            }),
        }
    }

    /// Opens a connection from `address`, an IPv4 address or an IPv6 network; at the limit, another one is closed for it.
    /// `None` if the client has at least as many as any other, and all of these are in service.
    pub(super) async fn open(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let client = Client {
            address,
            is_user: false,
        };
        self.open.lock().clients.arrive(client);
        let slot = loop {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                break slot;
            }
            if !self.open.lock().evict_one(client) {
                return None;
            }
            if let Ok(Ok(slot)) = timeout(EVICTION_INTERVAL, self.slots.clone().acquire_owned()).await {
                break slot;
            }
        };
        let progress = Arc::new(Mutex::new(Progress::new(client)));
        let mut open = self.open.lock();
        open.connections.push(progress.clone());
        open.clients.load(client).open += 1;
        drop(open);
        Some(Connection {
            connections: self.clone(),
            address,
            progress,
            _slot: slot,
        })
    }
}

impl Open {
    /// Asks one connection of the client with the most to close: the one that has been longest without a request
    /// in service. If all of them have one, it is the one with the oldest request, but only if `newcomer` has
    /// fewer connections. A client has as many as are open, or as it has opened lately, if those are more. Of clients with
    /// as many, those with a right password lose theirs last. Returns whether any connection is closing.
    fn evict_one(&mut self, newcomer: Client) -> bool {
        let Self { connections, clients } = self;
        // One at a time: its slot is about to be free, and evicting more would gain nothing.
        if connections.iter().any(|progress| progress.lock().is_closing()) {
            return true;
        }
        // Not simply the one that is idle longest of all: a client that sends small requests all the time is never
        // idle for long, and one whose requests are all in service would never lose any. Nor the one that is idle
        // longest of clients with as many open: while others connect all the time, a client would have no time to send
        // its request.
        let first_to_go = connections.iter().min_by_key(|progress| {
            let progress = progress.lock();
            let most = clients.most(progress.client);
            let is_in_service = progress.stage == Stage::InService;
            (
                Reverse(most),
                progress.client.is_user,
                is_in_service,
                progress.active_at,
            )
        });
        let Some(progress) = first_to_go else {
            // The last connection has just closed.
            return true;
        };
        let progress = progress.lock();
        if progress.stage == Stage::InService && clients.load(progress.client).open <= clients.load(newcomer).open {
            return false;
        }
        progress.is_closing.send_replace(true);
        true
    }
}

impl Connection {
    /// Notes that a request is in service from here on, and whether its password is right. That protects the connection
    /// from eviction, even if it has begun.
    pub(super) fn begin_service(&self, is_user: bool) {
        let clients = &mut self.connections.open.lock().clients;
        let mut progress = self.progress.lock();
        if is_user {
            clients.promote(&mut progress.client);
        }
        if matches!(progress.stage, Stage::Waiting | Stage::Idle) {
            // It was pipelined: its bytes arrived with the request before it.
            progress.began_at = Instant::now();
        }
        progress.stage = Stage::InService;
        progress.active_at = Instant::now();
        progress.is_closing.send_replace(false);
    }

    /// Notes that the TLS handshake is over, so that what comes is a request; or that no other request is served, so that
    /// the client is to close.
    pub(super) fn wait(&self) {
        self.progress.lock().stage = Stage::Waiting;
    }

    /// Notes that bytes have arrived. If nothing else is going on, a request begins.
    pub(super) fn receive(&self) {
        let mut progress = self.progress.lock();
        if matches!(progress.stage, Stage::Waiting | Stage::Idle) {
            progress.stage = Stage::Receiving;
            progress.began_at = Instant::now();
        }
    }

    /// Notes that some bytes have been written.
    pub(super) fn send(&self) {
        self.progress.lock().active_at = Instant::now();
    }

    /// Notes that everything has been written.
    pub(super) fn flush(&self) {
        let mut progress = self.progress.lock();
        if progress.stage == Stage::Sending {
            progress.stage = Stage::Idle;
            progress.began_at = Instant::now();
            progress.active_at = progress.began_at;
            progress.unsent = 0;
        }
    }

    /// Completes when the connection must close for another one.
    pub(super) async fn evicted(&self) {
        let mut is_closing = self.progress.lock().is_closing.subscribe();
        // The sender is as old as the connection.
        let _ = is_closing.wait_for(|is_closing| *is_closing).await;
    }

    /// Completes when one request, from its first byte until its answer is out, or the wait for the first one, or for
    /// the client to close, has taken longer than `limit`.
    pub(super) async fn overdue(&self, limit: Duration) {
        self.lasts(limit, |stage| stage != Stage::Idle).await;
    }

    /// Completes when the wait for another request has taken longer than `limit`. From then on, the client is to close.
    pub(super) async fn idle(&self, limit: Duration) {
        self.lasts(limit, |stage| stage == Stage::Idle).await;
        let mut progress = self.progress.lock();
        progress.stage = Stage::Waiting;
        progress.began_at = Instant::now();
    }

    /// Completes when the connection has been in such stages for longer than `limit`.
    async fn lasts(&self, limit: Duration, is_such: impl Fn(Stage) -> bool) {
        loop {
            let Progress { stage, began_at, .. } = *self.progress.lock();
            let since = if is_such(stage) { began_at } else { Instant::now() };
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.connections.retain(|other| !Arc::ptr_eq(other, &self.progress));
        open.clients.load(self.progress.lock().client).open -= 1;
    }
}

impl Progress {
    /// That of a connection that `client` has just opened.
    fn new(client: Client) -> Self {
        let now = Instant::now();
        Self {
            client,
            stage: Stage::Waiting,
            began_at: now,
            active_at: now,
            unsent: 0,
            is_closing: watch::Sender::default(),
        }
    }

    fn is_closing(&self) -> bool {
        *self.is_closing.borrow()
    }
}

#[cfg(test)]
mod tests;
