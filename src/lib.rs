//! A Prometheus exporter for Sonoran CAD.
//!
//! The rooms of the house, along the path of the data; each imports only from those before it:
//!
//! | room | what it answers |
//! |---|---|
//! | [`config`] | What does the user want? |
//! | [`clock`] | What time is it? |
//! | [`histogram`], [`process`] | Fixed buckets; this process: its version, memory, files. |
//! | [`snapshot`] | What did one fetch say? |
//! | [`client`] | How is the API asked, and what does a failure mean? |
//! | [`tracker`] | Which calls opened and closed between two snapshots? |
//! | [`cache`] | May this scrape be served, wait, or fetch? |
//! | [`community`] | Which servers, with which budget? Starts the fetches. |
//! | [`exposition`] | What are the metrics called, and how are they written? |
//! | [`web`] | Who asks, and how is it answered? |
//!
//! Beside them, [`demo`] simulates a CAD; it knows of the others only the clock.
//!
//! A *scrape* is one request to the exporter, a *fetch* one request to the API, a *snapshot* what
//! one fetch said. [`Exporter`] puts the rooms together.

pub mod cache;
pub mod client;
pub mod clock;
pub mod community;
pub mod config;
pub mod demo;
pub mod exposition;
pub mod histogram;
pub mod process;
pub mod snapshot;
pub mod tracker;
pub mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{info, warn};

use crate::client::ClientError;
use crate::clock::Clock;
use crate::community::Directory;
use crate::config::Config;
use crate::web::{ListenError, Listener, Web, WebConfigError};

/// An exporter whose addresses are open, but which does not answer yet.
#[derive(Debug)]
pub struct Exporter {
    communities: Arc<Directory>,
    listener: Listener,
    web: Web,
}

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API cannot be asked.
    #[error(transparent)]
    Client(ClientError),
    /// Nobody can ask the exporter.
    #[error(transparent)]
    Listen(ListenError),
    /// How to answer is not clear.
    #[error(transparent)]
    WebConfig(WebConfigError),
}

impl Exporter {
    /// Opens the addresses. Nothing is asked of the API, so it need not be well.
    ///
    /// # Errors
    ///
    /// An address cannot be opened, the web configuration cannot be used, or this machine has no CA certificates.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio's.
    pub fn bind(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let web = Web::new(config.web_config_file.as_deref()).map_err(StartError::WebConfig)?;
        let communities = Arc::new(Directory::new(config, clock).map_err(StartError::Client)?);
        let listener = Listener::bind(&config.listen).map_err(StartError::Listen)?;
        let exporter = Self {
            communities,
            listener,
            web,
        };
        exporter.announce(config);
        Ok(exporter)
    }

    /// The addresses that are open.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listener.local_addresses()
    }

    /// Whether it is to be asked over HTTPS, as things are now.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.web.speaks_tls()
    }

    /// Answers until `shutdown` completes and what is in service then is answered, within 5 s.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.web.serve(self.listener, self.communities, shutdown).await;
    }

    /// The communities that are served, which can be changed while it runs.
    #[must_use]
    pub fn communities(&self) -> Arc<Directory> {
        self.communities.clone()
    }

    fn announce(&self, config: &Config) {
        for (alias, community) in config.all_communities() {
            let servers: Vec<_> = community.servers.iter().map(|server| server.id).collect();
            info!(
                community = alias,
                api_version = %community.api.version,
                ?servers,
                ttl = %humantime::format_duration(community.ttl_in_force()),
                requests_per_minute = community.account.requests_per_minute,
                "reading"
            );
        }
        warn_of(config);
        info!(addresses = ?self.local_addresses(), version = process::VERSION, "listening");
    }
}

/// Logs what is allowed but may surprise.
pub fn warn_of(config: &Config) {
    for (alias, community) in config.all_communities() {
        for warning in community.warnings() {
            warn!(community = alias, "{warning}");
        }
    }
}
