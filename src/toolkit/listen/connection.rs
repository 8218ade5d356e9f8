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
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

pub(super) use self::clients::Client;
use self::clients::Clients;

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
    connections: Vec<Arc<Connection>>,
    clients: Clients,
}

/// One connection, while it is open; dropping it frees its slot.
#[derive(Debug)]
pub(super) struct OpenConnection {
    connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
    _slot: OwnedSemaphorePermit,
}

/// One connection: how far it has come, and for whom.
#[derive(Debug)]
pub(super) struct Connection {
    progress: Mutex<Progress>,
    /// Asks the connection to close.
    close: Notify,
}

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
    is_closing: bool,
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
    pub(super) async fn open(self: &Arc<Self>, address: IpAddr) -> Option<OpenConnection> {
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
        let connection = Arc::new(Connection::new(client));
        let mut open = self.open.lock();
        open.connections.push(connection.clone());
        open.clients.load(client).open += 1;
        drop(open);
        Some(OpenConnection {
            connections: self.clone(),
            connection,
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
        if connections.iter().any(|open| open.progress.lock().is_closing) {
            return true;
        }
        // Not simply the one that is idle longest of all: a client that sends small requests all the time is never
        // idle for long, and one whose requests are all in service would never lose any. Nor the one that is idle
        // longest of clients with as many open: while others connect all the time, a client would have no time to send
        // its request.
        let first_to_go = connections.iter().min_by_key(|connection| {
            let Progress {
                client,
                stage,
                active_at,
                ..
            } = *connection.progress.lock();
            let most = clients.most(client);
            (Reverse(most), client.is_user, stage == Stage::InService, active_at)
        });
        let Some(connection) = first_to_go else {
            // The last connection has just closed.
            return true;
        };
        let mut progress = connection.progress.lock();
        if progress.stage == Stage::InService && clients.load(progress.client).open <= clients.load(newcomer).open {
            return false;
        }
        connection.ask_to_close(&mut progress);
        true
    }
}

impl OpenConnection {
    /// Notes that a request is in service from here on, and whether its password is right. That protects the connection
    /// from eviction, even if it has begun.
    pub(super) fn begin_service(&self, is_user: bool) {
        let clients = &mut self.connections.open.lock().clients;
        let mut progress = self.connection.progress.lock();
        if is_user && !progress.client.is_user {
            clients.load(progress.client).open -= 1;
            progress.client.is_user = true;
            clients.load(progress.client).open += 1;
        }
        if matches!(progress.stage, Stage::Waiting | Stage::Idle) {
            // It was pipelined: its bytes arrived with the request before it.
            progress.began_at = Instant::now();
        }
        progress.stage = Stage::InService;
        progress.active_at = Instant::now();
        progress.is_closing = false;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.connections.retain(|other| !Arc::ptr_eq(other, &self.connection));
        open.clients.load(self.connection.client()).open -= 1;
    }
}

impl Connection {
    /// A connection that has just been opened by `client`.
    fn new(client: Client) -> Self {
        let now = Instant::now();
        Self {
            progress: Mutex::new(Progress {
                client,
                stage: Stage::Waiting,
                began_at: now,
                active_at: now,
                unsent: 0,
                is_closing: false,
            }),
            close: Notify::new(),
        }
    }

    /// The client, as limits count it.
    pub(super) fn client(&self) -> Client {
        self.progress.lock().client
    }

    /// Notes that the TLS handshake is over: what comes is a request.
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

    /// Notes that a response of this many bytes has been made.
    fn answer(&self, bytes: u64) {
        let mut progress = self.progress.lock();
        progress.stage = Stage::Sending;
        progress.active_at = Instant::now();
        progress.unsent = bytes;
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

    /// Notes that no other request is served: the client has as long to close as it would have for its first request.
    pub(super) fn shut_down(&self) {
        let mut progress = self.progress.lock();
        if progress.stage == Stage::Idle {
            progress.stage = Stage::Waiting;
        }
    }

    fn ask_to_close(&self, progress: &mut Progress) {
        progress.is_closing = true;
        self.close.notify_one();
    }

    /// Completes when the connection must close for another one.
    pub(super) async fn evicted(&self) {
        loop {
            self.close.notified().await;
            // Otherwise, a request has come into service since it was asked to.
            if self.progress.lock().is_closing {
                return;
            }
        }
    }

    /// Completes when one request, from its first byte until its answer is out, or the wait for the first one has
    /// taken longer than `stage`, or the wait for another one longer than `idle`. Returns whether it was the latter. From
    /// then on, the client has time to close until it completes again.
    pub(super) async fn timed_out(&self, stage: Duration, idle: Duration) -> bool {
        loop {
            let end = {
                let mut progress = self.progress.lock();
                let is_idle = progress.stage == Stage::Idle;
                let end = progress.began_at + if is_idle { idle } else { stage };
                if end <= Instant::now() {
                    if is_idle {
                        progress.stage = Stage::Waiting;
                        progress.began_at = Instant::now();
                    }
                    return is_idle;
                }
                end
            };
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests;
