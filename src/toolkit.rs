//! What every Prometheus exporter has: listening sockets and their limits, TLS, users, and the reload of all that.
//!
//! It serves any router and knows nothing of a CAD. The file format is that of
//! [exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).

mod auth;
mod config;
mod files;
mod gate;
mod listen;
mod reload;
mod tls;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::config::{WebConfigError, parse as parse_config};
use self::gate::Gate;
pub use self::listen::{ListenError, Listener};
use self::reload::ReloadingConfig;

/// Serves a router as the web configuration file says, as that file changes.
#[derive(Clone, Debug)]
pub struct Toolkit {
    config: Arc<ReloadingConfig>,
    /// Requests that met a bug in this program.
    panics: Arc<AtomicU64>,
}

impl Toolkit {
    /// Reads the web configuration file. Without one, everyone is answered over plain HTTP.
    ///
    /// # Errors
    ///
    /// The file, or one that it names, cannot be used.
    pub fn new(config_file: Option<&Path>) -> Result<Self, WebConfigError> {
        Ok(Self {
            config: Arc::new(ReloadingConfig::open(config_file)?),
            panics: Arc::default(),
        })
    }

    /// Whether clients must use HTTPS, as things are now.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.config.current().tls().is_some()
    }

    /// Whether the web configuration that was read last is in use.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        self.config.is_newest()
    }

    /// Requests that met a bug in this program.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Serves `router` until `shutdown` completes and the requests in service then are answered, for a few seconds at
    /// most. At least `reserved_files` file descriptors stay free for other purposes.
    pub async fn serve(
        self,
        listener: Listener,
        router: Router,
        reserved_files: usize,
        shutdown: impl Future<Output = ()>,
    ) {
        let gate = Gate::new(self.config.clone());
        tokio::select! {
            () = listener.serve(self.catch_panics(router), gate, reserved_files, shutdown) => {}
            () = self.config.clone().watch() => {}
        }
    }

    /// A panic while a request is answered costs that request only.
    fn catch_panics(&self, router: Router) -> Router {
        let panics = self.panics.clone();
        let respond = move |_: Box<dyn Any + Send>| -> Response {
            panics.fetch_add(1, Ordering::Relaxed);
            let text = "This is a bug in the exporter; please report it.\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        };
        router.layer(CatchPanicLayer::custom(respond))
    }
}
