//! The communities and their servers, and the only module that starts fetches.
//!
//! A scrape checks each server's caches. What is due is fetched, each feed in a task of its own, within the account's
//! budget. What is known at the deadline goes into a [`CommunityReport`].

mod communities;
mod feed;
mod history;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

pub use self::communities::{Communities, CommunitiesError, Listed};
use self::feed::Source;
pub use self::feed::{Replayed, replay};
use self::server::{AnyFeed, Server};
use crate::account::Account;
use crate::client::{Client, FetchError};
use crate::clock::Clock;
use crate::config::{ApiConfig, ApiVersion, CommunityConfig, ServerConfig};
use crate::report::{CommunityReport, Summary};

/// A community: its servers, side by side.
#[derive(Debug)]
struct Community {
    api: Arc<ApiConfig>,
    client: Arc<Client>,
    servers: Vec<Server>,
    clock: Clock,
}

impl Community {
    /// A community about which nothing is known yet.
    fn new(
        alias: Option<&str>,
        config: &CommunityConfig,
        account: &Arc<Account>,
        client: &Arc<Client>,
        clock: &Clock,
    ) -> Self {
        let api = Arc::new(config.api.clone());
        let new = |server: &ServerConfig| {
            let source = Source {
                community: alias.map(str::to_owned),
                server_id: server.id,
                api: api.clone(),
                account: account.clone(),
                client: client.clone(),
                clock: clock.clone(),
            };
            Server::new(server, config, source)
        };
        Self {
            servers: config.servers.iter().map(new).collect(),
            api,
            client: client.clone(),
            clock: clock.clone(),
        }
    }

    /// Whether `config` describes the same servers at the same API, although perhaps with other plans.
    fn is_read_as(&self, config: &CommunityConfig) -> bool {
        *self.api == config.api
            && self.servers.iter().map(Server::config).eq(&config.servers)
            && self
                .servers
                .iter()
                .all(|server| server.collects_units() == config.collects_units)
    }

    /// Reports every server: what is known, or what a fetch brings within `deadline`.
    ///
    /// A fetch that takes longer goes on without this scrape.
    async fn scrape(&self, deadline: Duration) -> CommunityReport {
        self.scrape_some(deadline, |_| true).await;
        self.report()
    }

    /// Scrapes the feeds for which no fetch has ended yet.
    async fn ask_once(&self, deadline: Duration) {
        self.scrape_some(deadline, |feed| !feed.is_asked()).await;
    }

    async fn scrape_some(&self, deadline: Duration, is_included: impl Fn(&dyn AnyFeed) -> bool) {
        let feeds = self.servers.iter().flat_map(Server::feeds);
        let mut oldest_first: Vec<_> = feeds.filter(|feed| is_included(*feed)).collect();
        // In a fixed order, the first servers would take every slot of a small budget. The key is cached because
        // another scrape may start a fetch meanwhile.
        oldest_first.sort_by_cached_key(|feed| feed.attempted_at());
        let fetches: Vec<_> = oldest_first.into_iter().filter_map(AnyFeed::join_or_start).collect();
        let all_complete = async {
            for mut fetch in fetches {
                // The sender lives as long as the server, so this ends only with the fetch.
                let _ = fetch.changed().await;
            }
        };
        // The report shows whether all of them ended in time.
        let _ = timeout(deadline, all_complete).await;
    }

    /// The servers that the community has, as the API lists them: their ids and names.
    async fn fetch_servers(&self) -> Result<BTreeMap<u32, Option<String>>, FetchError> {
        self.client.fetch_servers(&self.api, self.api_version()).await
    }

    /// The version of the API in use.
    fn api_version(&self) -> ApiVersion {
        self.servers.first().map_or(ApiVersion::V1, Server::version)
    }

    /// What an overview says about it, without a request.
    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for server in &self.servers {
            summary.add(&server.summary());
        }
        summary
    }

    /// Reports what is known, without a request.
    fn report(&self) -> CommunityReport {
        CommunityReport {
            servers: self.servers.iter().map(Server::report).collect(),
            at: self.clock.now(),
        }
    }
}
