//! How often each client has connected lately.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Connections are counted for at least this long, and at most twice as long.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// The connections that each client has opened lately.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// When `now` began.
    since: Option<Instant>,
    /// Those of this period.
    now: HashMap<IpAddr, u32>,
    /// Those of the period before. Two maps, since forgetting clients one by one would cost more with each of them.
    before: HashMap<IpAddr, u32>,
}

impl Arrivals {
    /// Counts a connection of this client.
    pub(super) fn add(&mut self, client: IpAddr, at: Instant) {
        let age = self.since.map_or(PERIOD, |since| at.saturating_duration_since(since));
        if age >= PERIOD {
            self.before = mem::take(&mut self.now);
            self.since = Some(at);
        }
        if age >= PERIOD * 2 {
            self.before.clear();
        }
        *self.now.entry(client).or_default() += 1;
    }

    /// How many connections of this client have been counted lately.
    pub(super) fn count(&self, client: IpAddr) -> u32 {
        let of = |counts: &HashMap<_, _>| counts.get(&client).copied().unwrap_or_default();
        of(&self.now) + of(&self.before)
    }
}
