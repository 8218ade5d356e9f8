//! What every Prometheus exporter has: a listener with limits, and the web configuration file (TLS,
//! users, headers). It knows nothing of CADs; the router that it serves comes from outside.

mod auth;
mod config;
mod findings;
mod guard;
mod listen;
mod reload;
mod tls;

use std::path::Path;
use std::sync::Arc;

use axum::Router;

pub use self::config::{WebConfigError, parse as parse_config};
use self::guard::Guard;
pub use self::listen::{ListenError, Listener};
use self::reload::ReloadingConfig;

/// The web configuration in use, and what applies it to every request.
#[derive(Clone, Debug)]
pub struct Toolkit {
    guard: Guard,
}

impl Toolkit {
    /// Reads the web configuration file. Without one, the exporter speaks plain HTTP and asks for no password.
    ///
    /// # Errors
    ///
    /// The file, or one that it names, cannot be used.
    pub fn new(web_config_file: Option<&Path>) -> Result<Self, WebConfigError> {
        let config = ReloadingConfig::open(web_config_file)?;
        Ok(Self {
            guard: Guard::new(Arc::new(config)),
        })
    }

    /// Whether new connections must use HTTPS at the moment.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.guard.config.current().tls.is_some()
    }

    /// Reads the web configuration file again, if there is one. One that cannot be used changes nothing, and is logged.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn reload(&self) -> Result<(), WebConfigError> {
        self.guard.config.reload()
    }

    /// Whether the web configuration that was read last is in use; if not, it is invalid.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        self.guard.config.is_newest()
    }

    /// What the web configuration in use says that is accepted but may surprise.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.guard.config.current().warnings.clone()
    }

    /// How many requests have panicked since the start.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.guard.panics()
    }

    /// Serves `router` until `shutdown` completes, and then for a few seconds at most, until the requests in
    /// service are answered. The application needs up to `reserved_files` file descriptors of its own.
    pub async fn serve(
        self,
        listener: Listener,
        router: Router,
        reserved_files: usize,
        shutdown: impl Future<Output = ()>,
    ) {
        let config = self.guard.config.clone();
        tokio::select! {
            () = listener.serve(router, self.guard, reserved_files, shutdown) => {}
            () = config.watch() => {}
        }
    }
}
