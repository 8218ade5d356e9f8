//! A simulated CAD with a living community in it, for a first look and for tests.
//!
//! It speaks the API's wire formats, v1 and v2 side by side, and writes its own JSON, so that bugs of the decoder cannot
//! cancel out. Calls arrive in a daily and weekly rhythm, units sign on, take and clear them, emergency calls are answered
//! after a while, and now and then the API fails. All of it follows from a seed and the clock: as time passes, even by hand,
//! the community lives on. [`Statistics`] are the truth, to compare with what an exporter counts.

mod agenda;
mod api;
mod call;
mod chance;
mod discipline;
mod incident;
mod limit;
mod outages;
mod posts;
mod rhythm;
mod server;
mod statistics;
mod unit;
mod units;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;

use self::limit::RateLimits;
use self::outages::Outages;
pub use self::server::MIN_CALL;
use self::server::Server;
pub use self::statistics::{Statistics, UnitStatistics};
use crate::clock::{Clock, Now};

/// The id of the simulated community.
pub const COMMUNITY_ID: &str = "demo";

/// Its API key.
pub const API_KEY: &str = "demo";

/// How long the community has lived at the first request.
const PAST: Duration = Duration::from_secs(3 * 60 * 60);

/// What kind of community it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What happens follows from this number.
    pub seed: u64,
    /// Calls per hour and server, on average over a week; at least 1.
    pub calls_per_hour: u32,
    /// CAD servers, numbered from 1; at least 1.
    pub servers: u32,
    /// How far the community's time of day is ahead of UTC, in seconds.
    pub utc_offset: i32,
    /// Whether the API has outages, and rate limits without a cause.
    pub has_trouble: bool,
    /// Whether version v1 is switched off: it answers 200 with the text `Sonoran CAD: Backend Service Reached`.
    pub is_v1_gone: bool,
}

/// A simulated CAD; clones share it.
#[derive(Clone, Debug)]
pub struct Cad {
    state: Arc<Mutex<State>>,
    clock: Clock,
    begin: Now,
    is_v1_gone: bool,
}

#[derive(Debug)]
struct State {
    servers: Vec<Server>,
    outages: Outages,
    limits: RateLimits,
}

impl Cad {
    /// A CAD that has been in use for a while.
    #[must_use]
    pub fn new(settings: &Settings, clock: &Clock) -> Self {
        let begin = clock.now();
        let mut random = fastrand::Rng::with_seed(settings.seed);
        let servers = (0..settings.servers)
            .map(|_| {
                let mut server = Server::new(settings, random.fork(), begin.unix.saturating_sub(PAST));
                server.live_until(begin.unix);
                server
            })
            .collect();
        let outages = Outages::new(settings.has_trouble, random.fork());
        let limits = RateLimits::new(settings.servers);
        Self {
            state: Arc::new(Mutex::new(State {
                servers,
                outages,
                limits,
            })),
            clock: clock.clone(),
            begin,
            is_v1_gone: settings.is_v1_gone,
        }
    }

    /// Answers requests for ever.
    ///
    /// # Errors
    ///
    /// None: a failed accept is tried again.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, api::router(self)).await
    }

    /// What has truly happened on a server, since long before the first request; `None` if there is no such server.
    #[must_use]
    pub fn statistics(&self, server_id: u32) -> Option<Statistics> {
        let mut state = self.state.lock();
        let unix = self.time().unix;
        Some(state.live_until(unix, server_id)?.statistics(unix))
    }

    /// The answer of version v1 to a request for a server's calls.
    #[must_use]
    pub fn calls(&self, server_id: u32, closed_limit: usize) -> Option<String> {
        let mut state = self.state.lock();
        let server = state.live_until(self.time().unix, server_id)?;
        Some(wire::calls::v1(Some(server), closed_limit, 0))
    }

    /// The answer of version v1 to a request for a server's units on duty, dispatchers among them.
    #[must_use]
    pub fn units(&self, server_id: u32, limit: usize, offset: usize) -> Option<String> {
        let mut state = self.state.lock();
        let server = state.live_until(self.time().unix, server_id)?;
        let query = wire::units::Query {
            only_units: false,
            include_offline: false,
            limit,
            offset,
        };
        Some(wire::units::v1(Some(server), query))
    }

    /// The simulated time, which never steps: it counts from the first request on the steady clock.
    fn time(&self) -> Time {
        let elapsed = self.clock.now().since(self.begin);
        Time {
            elapsed,
            unix: self.begin.unix + elapsed,
        }
    }
}

/// The simulated time.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Since the first request.
    elapsed: Duration,
    /// Since 1970.
    unix: Duration,
}

impl State {
    /// The server of this number, as it is at `unix`.
    fn live_until(&mut self, unix: Duration, server_id: u32) -> Option<&Server> {
        let index = usize::try_from(server_id.checked_sub(1)?).ok()?;
        let server = self.servers.get_mut(index)?;
        server.live_until(unix);
        Some(server)
    }
}

#[cfg(test)]
mod tests;
