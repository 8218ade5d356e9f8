//! The web configuration in use, read again when one of its files changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::config::{WebConfig, WebConfigError};
use crate::files::WatchedFiles;

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

    /// Reads the files again whenever they have changed; never ends.
    ///
    /// It waits until they have stayed the same between two checks: a certificate and its key are written
    /// one after the other. If the new files are invalid, the configuration in use stays.
    pub(super) async fn watch(self: Arc<Self>) {
        let Some(path) = self.path.clone() else {
            return std::future::pending().await;
        };
        let mut before = self.state.read().files.clone();
        loop {
            sleep(INTERVAL).await;
            let (live, path) = (self.clone(), path.clone());
            let last = before.clone();
            // File systems can be slow.
            let check = spawn_blocking(move || live.check(&path, &last));
            before = check.await.unwrap_or(before);
        }
    }

    /// Checks the files. Reads them again if they differ from what was read, but not from the `last` check. Returns
    /// their state.
    fn check(&self, path: &Path, last: &WatchedFiles) -> WatchedFiles {
        let read = self.state.read().files.clone();
        let now = read.look_again();
        if now != read && now == *last {
            // What cannot be used is logged.
            let _ = self.read_again(path);
        }
        now
    }

    /// Reads the file now, if there is one; what cannot be used is logged and changes nothing. Nor can one be used that lets
    /// in clients that the one in use keeps out.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub(super) fn reload(&self) -> Result<(), WebConfigError> {
        self.path.as_deref().map_or(Ok(()), |path| self.read_again(path))
    }

    fn read_again(&self, path: &Path) -> Result<(), WebConfigError> {
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
