//! Who connects, how many connections each client has, and how many it has opened lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// New connections are counted for at least this long, and at most twice as long.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// So many connections count as one where a right password was sent: several scrapers may share an address, also with
/// clients that are none.
const USER_CONNECTIONS: u32 = 8;

/// A client, as limits count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// An IPv4 address, or an IPv6 network.
    pub(super) address: IpAddr,
    /// Whether it has sent a password that is right. So nobody else at its address takes its connections.
    pub(super) is_user: bool,
}

/// Every client that has a connection, or has opened one lately.
#[derive(Debug)]
pub(super) struct Clients {
    loads: HashMap<Client, Load>,
    /// When the period began.
    since: Instant,
}

/// The connections of one client.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Those that are open.
    pub(super) open: u32,
    /// Those that were opened, or refused, in this period.
    now: u32,
    /// The same of the period before.
    before: u32,
    /// Whether a right password was sent on one of them.
    has_user: bool,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self {
            loads: HashMap::new(),
            since: Instant::now(),
        }
    }

    /// Counts a connection that a client wants to open.
    pub(super) fn arrive(&mut self, client: Client) {
        let age = self.since.elapsed();
        if age >= PERIOD {
            self.since = Instant::now();
            self.loads.retain(|_, load| {
                load.before = if age < PERIOD * 2 { load.now } else { 0 };
                load.now = 0;
                load.open > 0 || load.before > 0
            });
        }
        self.load(client).now += 1;
    }

    /// What is known about a client.
    pub(super) fn load(&mut self, client: Client) -> &mut Load {
        self.loads.entry(client).or_default()
    }

    /// Counts an open connection of `client` as that of a user from here on.
    pub(super) fn promote(&mut self, client: &mut Client) {
        self.load(*client).open -= 1;
        self.load(*client).has_user = true;
        client.is_user = true;
        self.load(*client).open += 1;
    }

    /// The connections that count against a client: those that are open, or those that it has opened lately, if these
    /// are more.
    pub(super) fn most(&mut self, client: Client) -> u32 {
        let load = self.load(client);
        let most = load.open.max(load.now + load.before);
        if client.is_user || load.has_user {
            most.div_ceil(USER_CONNECTIONS)
        } else {
            most
        }
    }
}
