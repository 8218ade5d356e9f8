//! The web configuration in use, read again when one of its files changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::config::{WebConfig, WebConfigError};
use crate::files::{self, WatchedFiles};

/// How often the files are checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The web configuration in use.
#[derive(Debug)]
pub(super) struct ReloadingConfig {
    /// The file; without one, nothing is configured, and nothing changes.
    path: Option<PathBuf>,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    /// The newest valid configuration.
    current: Arc<WebConfig>,
    /// Whether it is the one that was read last; if not, that one is invalid.
    is_newest: bool,
    /// The files, as they were when they were read last.
    files: WatchedFiles,
}

impl ReloadingConfig {
    /// Reads the file, if one is configured.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, WebConfigError> {
        let mut files = WatchedFiles::default();
        let current = match path {
            Some(path) => WebConfig::read(path, &mut files)?,
            None => WebConfig::default(),
        };
        log_warnings(&current);
        Ok(Self {
            path: path.map(Path::to_owned),
            state: RwLock::new(State {
                current: Arc::new(current),
                is_newest: true,
                files,
            }),
        })
    }

    /// The configuration in use.
    pub(super) fn current(&self) -> Arc<WebConfig> {
        self.state.read().current.clone()
    }

    /// Whether what was read last is in use.
    pub(super) fn is_newest(&self) -> bool {
        self.state.read().is_newest
    }

    /// Reads the files again whenever they have changed; never ends. If the new files are invalid, the configuration in
    /// use stays.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            files::changed(|| self.state.read().files.clone(), INTERVAL).await;
            let this = self.clone();
            // What cannot be used is logged.
            let _ = spawn_blocking(move || this.reload()).await;
        }
    }

    /// Reads the file now, if there is one; what cannot be used is logged and changes nothing. Nor can one be used that lets
    /// in clients that the one in use keeps out.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub(super) fn reload(&self) -> Result<(), WebConfigError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut files = WatchedFiles::default();
        let before = self.current();
        let config = WebConfig::read(path, &mut files).and_then(|config| config.replace(&before, path));
        let mut state = self.state.write();
        state.files = files;
        state.is_newest = config.is_ok();
        match config {
            Ok(config) => {
                state.current = Arc::new(config);
                log_warnings(&state.current);
                info!(path = %path.display(), "the web configuration has been read again");
                Ok(())
            }
            Err(error) => {
                error!(%error, "the web configuration stays as it was");
                Err(error)
            }
        }
    }
}

fn log_warnings(config: &WebConfig) {
    for warning in &config.warnings {
        warn!("the web configuration: {warning}");
    }
}

#[cfg(test)]
mod tests;
