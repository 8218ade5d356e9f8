//! How many connections each client has, and how many it has opened lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// New connections are counted for at least this long, and at most twice as long.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Every client that has a connection, or has opened one lately.
#[derive(Debug)]
pub(super) struct Clients {
    by_address: HashMap<IpAddr, Client>,
    /// When the period began.
    since: Instant,
}

/// The connections of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Client {
    /// Those that are open.
    pub(super) open: usize,
    /// Those that were opened, or refused, in this period.
    now: u32,
    /// The same of the period before.
    before: u32,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self {
            by_address: HashMap::new(),
            since: Instant::now(),
        }
    }

    /// Counts a connection that a client wants to open.
    pub(super) fn arrive(&mut self, address: IpAddr) {
        let age = self.since.elapsed();
        if age >= PERIOD {
            self.since = Instant::now();
            self.by_address.retain(|_, client| {
                client.before = if age < PERIOD * 2 { client.now } else { 0 };
                client.now = 0;
                client.open > 0 || client.before > 0
            });
        }
        self.by_address.entry(address).or_default().now += 1;
    }

    /// Counts a connection that is open from here on.
    pub(super) fn open(&mut self, address: IpAddr) {
        self.by_address.entry(address).or_default().open += 1;
    }

    /// Notes that a connection is closed.
    pub(super) fn close(&mut self, address: IpAddr) {
        if let Some(client) = self.by_address.get_mut(&address) {
            client.open -= 1;
        }
    }

    /// What is known about a client.
    pub(super) fn get(&self, address: IpAddr) -> Client {
        self.by_address.get(&address).copied().unwrap_or_default()
    }
}

impl Client {
    /// The connections that it has opened lately.
    pub(super) fn lately(self) -> u32 {
        self.now + self.before
    }
}
