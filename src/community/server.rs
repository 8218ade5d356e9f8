//! One CAD server of a community: its feeds.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::feed::{Feed, Source};
use crate::client::{Calls, Endpoint as _};
use crate::config::{CommunityConfig, ServerConfig};
use crate::report::ServerReport;

/// One CAD server of a community.
#[derive(Debug)]
pub(super) struct Server {
    config: ServerConfig,
    calls: Arc<Feed<Calls>>,
}

impl Server {
    /// A server about which nothing is known yet.
    pub(super) fn new(config: &ServerConfig, community: &CommunityConfig, source: Source) -> Self {
        Self {
            config: config.clone(),
            calls: Arc::new(Feed::new(source, Calls::plan(community))),
        }
    }

    /// The configuration it was made from.
    pub(super) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Changes how long data is fresh and shown.
    pub(super) fn set_plans(&self, community: &CommunityConfig) {
        self.calls.set_plan(Calls::plan(community));
    }

    /// When the newest request was sent; `None`, which sorts before all others, if there was none.
    pub(super) fn attempted_at(&self) -> Option<Instant> {
        self.calls.attempted_at()
    }

    /// Whether the newest fetch failed.
    pub(super) fn has_failed(&self) -> bool {
        self.calls.has_failed()
    }

    /// Whether any fetch has ended.
    pub(super) fn is_asked(&self) -> bool {
        self.calls.is_asked()
    }

    /// Counts a scrape. Returns what notifies it of the end of the fetch that it has to wait for.
    pub(super) fn join_or_start(&self) -> Option<watch::Receiver<()>> {
        self.calls.join_or_start()
    }

    /// What is known, without a request.
    pub(super) fn report(&self) -> ServerReport {
        ServerReport {
            id: self.config.id.to_string(),
            name: self.config.name.clone(),
            calls: self.calls.report(),
        }
    }
}
