//! The communities and their servers, and the only room that starts fetches.
//!
//! A scrape looks at each server's cache; what is due is fetched, each server in a task of its own,
//! within the account's budget; and what is known at the deadline goes into a [`Report`].

mod account;
mod directory;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::account::Account;
pub use self::directory::Directory;
use self::server::Server;
pub use self::server::{Counts, Failure, ServerReport};
use crate::client::Client;
use crate::clock::{Clock, Now};
use crate::config::{ApiConfig, CommunityConfig, ServerConfig};
use crate::process::Process;

/// A community: its servers, side by side.
#[derive(Debug)]
struct Community {
    api: Arc<ApiConfig>,
    server_configs: Vec<ServerConfig>,
    servers: Vec<Arc<Server>>,
    clock: Clock,
}

/// All that one scrape says.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was made.
    pub at: Now,
    /// Each server of the community, in the order of the configuration.
    pub servers: Vec<ServerReport>,
    /// The exporter itself, where the scrape asks for it.
    pub exporter: Option<ExporterReport>,
}

/// What the exporter says of itself.
#[derive(Clone, Debug)]
pub struct ExporterReport {
    /// Its process; `None` where the system does not tell.
    pub process: Option<Process>,
    /// Whether the configuration that was read last is in use.
    pub is_reload_successful: bool,
    /// Requests that met a fault of the exporter.
    pub panics: u64,
}

impl Community {
    /// A community of which nothing is known yet.
    fn new(
        alias: Option<&str>,
        config: &CommunityConfig,
        account: &Arc<Account>,
        client: &Arc<Client>,
        clock: &Clock,
    ) -> Self {
        let api = Arc::new(config.api.clone());
        let new = |server| {
            let (api, account, client) = (api.clone(), account.clone(), client.clone());
            Arc::new(Server::new(alias, server, config, api, account, client, clock.clone()))
        };
        Self {
            servers: config.servers.iter().map(new).collect(),
            api,
            server_configs: config.servers.clone(),
            clock: clock.clone(),
        }
    }

    /// Whether `config` reads the same servers in the same way, but perhaps at another pace.
    fn is_read_as(&self, config: &CommunityConfig) -> bool {
        *self.api == config.api && self.server_configs == config.servers
    }

    /// Reports every server: what is known, or what a fetch brings within `patience`.
    ///
    /// A fetch that takes longer goes on without this scrape.
    async fn scrape(&self, patience: Duration) -> Report {
        let mut oldest_first: Vec<_> = self.servers.iter().collect();
        // In a fixed order, the first servers would take every slot of a small budget. Each is looked at
        // once, since another scrape may start a fetch in the meantime.
        oldest_first.sort_by_cached_key(|server| server.attempted_at());
        let fetches: Vec<_> = oldest_first.into_iter().filter_map(Server::join_or_start).collect();
        let all_landed = async {
            for mut fetch in fetches {
                // The sender lives as long as the server, so that only a landing ends this.
                let _ = fetch.changed().await;
            }
        };
        // Whether all of them landed shows in the report.
        let _ = timeout(patience, all_landed).await;
        self.report()
    }

    /// Whether the newest attempt of any server failed.
    fn has_trouble(&self) -> bool {
        self.servers.iter().any(|server| server.has_failed())
    }

    /// Reports what is known, and asks nothing.
    fn report(&self) -> Report {
        Report {
            servers: self.servers.iter().map(|server| server.report()).collect(),
            at: self.clock.now(),
            exporter: None,
        }
    }
}
