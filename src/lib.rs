//! A Prometheus exporter for Sonoran CAD.
//!
//! The modules, along the path of the data; each imports only from those before it:
//!
//! | module | what it answers |
//! |---|---|
//! | [`clock`], [`histogram`], [`label`], [`process`] | Time, fixed buckets, closed sets of label values, this process. |
//! | [`text`], [`secret_file`], [`files`], [`spelling`], [`yaml`] | How are texts and files read, and what does a typo mean? |
//! | [`config`] | What does the user want? |
//! | [`snapshot`] | What did one answer say? |
//! | [`account`] | How often may a key be used? |
//! | [`tracker`] | Which calls opened and closed between two snapshots? |
//! | [`client`] | How is the API asked, and what does a failure mean? |
//! | [`cache`] | May this scrape be served, wait, or fetch? |
//! | [`report`] | What does one scrape say? |
//! | [`community`] | Which servers are there? Starts the fetches, fills the reports. |
//! | [`exposition`] | What are the metrics called, and how are they written? |
//! | [`toolkit`] | What does every exporter have? Listener, TLS, users; knows nothing of a CAD. |
//! | [`web`] | What do clients ask, and how are they answered? |
//!
//! Beside them, [`demo`] simulates a CAD; of the others it knows only the clock.
//!
//! A *scrape* is one request to the exporter, a *fetch* one request to the API, a *snapshot* what one answer said.
//! [`Exporter`] puts the modules together:
//!
//! ```
//! use sonorancad_exporter::Exporter;
//! use sonorancad_exporter::clock::Clock;
//! use sonorancad_exporter::config::{Config, Setting};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let variables = [
//!     ("SONORANCAD_COMMUNITY_ID", "mycommunity"),
//!     ("SONORANCAD_API_KEY", "0f8a"),
//!     ("SONORANCAD_API_URL", "http://localhost:8080"),
//!     ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
//! ];
//! let variables = variables.map(|(name, text)| (name.into(), text.into()));
//! let config = Config::read(Setting::from_environment(variables))?;
//!
//! tokio::runtime::Runtime::new()?.block_on(async {
//!     let exporter = Exporter::bind(&config, &Clock::system())?;
//!     assert_ne!(exporter.local_addresses()[0].port(), 0);
//!     let shutdown = async { /* a signal */ };
//!     exporter.run(shutdown).await;
//!     Ok(())
//! })
//! # }
//! ```

pub mod account;
pub mod cache;
pub mod client;
pub mod clock;
pub mod community;
pub mod config;
pub mod demo;
pub mod exposition;
pub mod files;
pub mod histogram;
pub mod label;
pub mod process;
pub mod report;
pub mod secret_file;
pub mod snapshot;
pub mod spelling;
pub mod text;
pub mod toolkit;
pub mod tracker;
pub mod web;
pub mod yaml;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use url::Url;

use crate::client::MAX_FILES;
use crate::clock::Clock;
use crate::community::{Communities, CommunitiesError};
use crate::config::{Config, Listen};
use crate::toolkit::{ListenError, Listener, Toolkit, WebConfigError};
use crate::web::ReloadRequest;

/// An exporter whose addresses are open, but which does not answer yet.
#[derive(Debug)]
pub struct Exporter {
    communities: Arc<Communities>,
    listener: Listener,
    toolkit: Toolkit,
    external_url: Option<Url>,
    dashboard_url: Option<Url>,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Requests to the API are not possible, or the state that replicas share cannot be used.
    #[error(transparent)]
    Communities(CommunitiesError),
    /// The exporter cannot listen.
    #[error(transparent)]
    Listen(ListenError),
    /// The web configuration cannot be used.
    #[error(transparent)]
    WebConfig(WebConfigError),
}

impl Exporter {
    /// Opens the addresses. Nothing is requested from the API, which may be down.
    ///
    /// # Errors
    ///
    /// An address cannot be opened, the web configuration cannot be used, or this machine has no CA certificates.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let toolkit = Toolkit::new(config.web_config_file.as_deref()).map_err(StartError::WebConfig)?;
        let communities = Arc::new(Communities::new(config, clock).map_err(StartError::Communities)?);
        let listener = match &config.listen {
            Listen::Addresses(addresses) => Listener::open(addresses),
            Listen::SystemdSocket => Listener::from_systemd(),
        };
        let listener = listener.map_err(StartError::Listen)?;
        Ok(Self {
            communities,
            listener,
            toolkit,
            external_url: config.external_url.clone(),
            dashboard_url: config.dashboard_url.clone(),
            reloads: None,
        })
    }

    /// The addresses that are open.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listener.local_addresses()
    }

    /// Whether clients must use HTTPS, as things are now.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.toolkit.speaks_tls()
    }

    /// Serves until `shutdown` completes and the requests in service then are answered, within 5 s.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let router = web::router(
            self.communities,
            self.toolkit.clone(),
            self.external_url.as_ref(),
            self.dashboard_url,
            self.reloads,
        );
        self.toolkit.serve(self.listener, router, MAX_FILES, shutdown).await;
    }

    /// Lets clients ask to read the configuration again. Each request that is received must be answered.
    pub fn enable_reloads(&mut self) -> mpsc::Receiver<ReloadRequest> {
        let (sender, requests) = mpsc::channel(1);
        self.reloads = Some(sender);
        requests
    }

    /// The web configuration in use.
    #[must_use]
    pub fn toolkit(&self) -> Toolkit {
        self.toolkit.clone()
    }

    /// The communities that are served. They can be changed while it runs.
    #[must_use]
    pub fn communities(&self) -> Arc<Communities> {
        self.communities.clone()
    }
}
