//! The open connections: how many there may be, how far each has come, and which one is evicted.
//!
//! | stage | event | next stage |
//! |---|---|---|
//! | waiting | bytes arrive | receiving |
//! | receiving | the gate lets the request pass | in service |
//! | receiving, in service | the response is known | sending |
//! | sending | all of it is sent | waiting |
//!
//! A request in service is not evicted, except where its client holds more connections than a newcomer. With pipelined
//! requests, the next one can be in service before bytes arrive.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// How long to wait for an evicted connection to be gone before the next one is evicted.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    max: u32,
    slots: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
}

/// A connection while it is open. Dropping it frees its slot.
#[derive(Debug)]
pub(super) struct OpenConnection {
    connections: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
    _slot: OwnedSemaphorePermit,
}

/// One connection: its client, and how far it has come.
#[derive(Debug)]
pub(super) struct Connection {
    /// The other side's address.
    pub(super) client: IpAddr,
    progress: Mutex<Progress>,
    /// Asks the connection to close.
    close: Notify,
}

#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// When the request began, or the wait for one.
    began_at: Instant,
    /// Since when no request has been in service.
    idle_since: Instant,
    /// Whether it has been asked to close.
    is_closing: bool,
    /// Whether it is to close even with a request in service.
    is_preempted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the first byte of a request.
    Waiting,
    /// A request has begun, but is not in service yet.
    Receiving,
    /// A request is in service.
    InService,
    /// Its response is being sent.
    Sending,
}

impl Connections {
    /// At most `max` connections at once.
    pub(super) fn new(max: u32) -> Self {
        Self {
            max,
            slots: Arc::new(Semaphore::new(max as usize)),
            open: Mutex::default(),
            next_id: AtomicU64::default(),
        }
    }

    /// Opens a connection; at the limit, another one is evicted for it. `None` if no other client has more connections
    /// and all of them have a request in service.
    pub(super) async fn open(self: &Arc<Self>, client: IpAddr) -> Option<OpenConnection> {
        let slot = loop {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                break slot;
            }
            if !self.evict_one(client) {
                return None;
            }
            if let Ok(Ok(slot)) = timeout(EVICTION_INTERVAL, self.slots.clone().acquire_owned()).await {
                break slot;
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(client));
        self.open.lock().insert(id, connection.clone());
        Some(OpenConnection {
            connections: self.clone(),
            id,
            connection,
            _slot: slot,
        })
    }

    /// Asks a connection of the client with the most connections to close: the one that has been idle longest. If all
    /// of them have a request in service, the oldest request is preempted if `newcomer` has fewer connections. Returns
    /// whether any connection is closing.
    fn evict_one(&self, newcomer: IpAddr) -> bool {
        let open = self.open.lock();
        if open.values().any(|connection| connection.progress.lock().is_closing) {
            return true;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connection in open.values() {
            *counts.entry(connection.client).or_default() += 1;
        }
        // Not simply the connection that is idle longest: a client that keeps sending small requests is never idle for
        // long, and one with every request in service would never be evicted.
        let first_to_go = open
            .values()
            .min_by_key(|connection| (Reverse(counts[&connection.client]), connection.idleness()));
        let Some(connection) = first_to_go else {
            // The last one is just closing.
            return true;
        };
        let mut progress = connection.progress.lock();
        let is_in_service = progress.stage == Stage::InService;
        let own = counts.get(&newcomer).copied().unwrap_or_default();
        if is_in_service && counts[&connection.client] <= own {
            return false;
        }
        progress.is_closing = true;
        progress.is_preempted = is_in_service;
        connection.close.notify_one();
        true
    }

    /// Completes when no connection is open.
    pub(super) async fn all_closed(&self) {
        // An error would mean that the semaphore is closed, which it never is.
        let _ = self.slots.acquire_many(self.max).await;
    }
}

impl OpenConnection {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.id);
    }
}

impl Connection {
    /// A connection that has just been opened by `client`.
    pub(super) fn new(client: IpAddr) -> Self {
        let now = Instant::now();
        Self {
            client,
            progress: Mutex::new(Progress {
                stage: Stage::Waiting,
                began_at: now,
                idle_since: now,
                is_closing: false,
                is_preempted: false,
            }),
            close: Notify::new(),
        }
    }

    /// Notes that bytes have arrived: a request begins, unless another one is under way.
    pub(super) fn begin_receiving(&self) {
        let mut progress = self.progress.lock();
        if progress.stage == Stage::Waiting {
            progress.stage = Stage::Receiving;
            progress.began_at = Instant::now();
        }
    }

    /// Notes that the gate has let the request pass: from now on it keeps its connection from being evicted.
    pub(super) fn begin_service(&self) {
        let mut progress = self.progress.lock();
        if progress.stage == Stage::Waiting {
            // It was pipelined: its bytes arrived with those of the request before.
            progress.began_at = Instant::now();
        }
        progress.stage = Stage::InService;
    }

    /// Notes that the response to the request is known.
    pub(super) fn begin_sending(&self) {
        let mut progress = self.progress.lock();
        progress.stage = Stage::Sending;
        progress.idle_since = Instant::now();
    }

    /// Notes that the response has been sent.
    pub(super) fn end_sending(&self) {
        let mut progress = self.progress.lock();
        if progress.stage == Stage::Sending {
            progress.stage = Stage::Waiting;
            progress.began_at = Instant::now();
            progress.idle_since = progress.began_at;
        }
    }

    /// Whether a request is in service, and since when; otherwise since when there has been none.
    fn idleness(&self) -> (bool, Instant) {
        let progress = self.progress.lock();
        match progress.stage {
            Stage::InService => (true, progress.began_at),
            Stage::Waiting | Stage::Receiving | Stage::Sending => (false, progress.idle_since),
        }
    }

    /// Completes when the connection is evicted. A request that came into service meanwhile keeps it, unless it is
    /// preempted.
    pub(super) async fn evicted(&self) {
        loop {
            self.close.notified().await;
            let mut progress = self.progress.lock();
            if progress.stage != Stage::InService || progress.is_preempted {
                return;
            }
            progress.is_closing = false;
        }
    }

    /// Completes when one request, from its first byte until its response is sent, or the wait for one, has taken longer
    /// than `limit`.
    pub(super) async fn timed_out(&self, limit: Duration) {
        loop {
            let end = self.progress.lock().began_at + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
