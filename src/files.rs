//! Files that were read, and whether they have changed since.
//!
//! They are polled: notifications of the system miss files behind links, which is how Kubernetes replaces
//! secrets, and some network file systems send none.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::secret_file::{open_regular, read_bytes, read_secret};

/// The files that were read, each as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedFiles(Vec<(PathBuf, Option<FileStamp>)>);

/// Metadata that tells whether a file was modified or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    number: u64,
    length: u64,
    /// The modification time and the change time, in seconds and nanoseconds: programs can set only the former at
    /// will.
    changed_at: [(i64, i64); 2],
}

impl WatchedFiles {
    /// Reads a text of at most `max_bytes` bytes, and remembers the file, whether it exists or not. The text may contain
    /// a key: it is wiped when it is dropped.
    ///
    /// # Errors
    ///
    /// It cannot be opened or read, is not a regular file or not UTF-8, or is larger.
    pub fn read(&mut self, path: &Path, max_bytes: u64) -> io::Result<Zeroizing<String>> {
        self.remember(path);
        open_regular(path).and_then(|file| read_secret(&file, max_bytes))
    }

    /// The same of bytes that contain no secret.
    ///
    /// # Errors
    ///
    /// It cannot be opened or read, is not a regular file, or is larger.
    pub fn read_bytes(&mut self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        self.remember(path);
        read_bytes(path, max_bytes)
    }

    /// Remembers a file or folder. A folder changes with the names in it.
    pub fn remember(&mut self, path: &Path) {
        // The stamp first, so that the next check notices a change during the read.
        self.0.push((path.to_owned(), FileStamp::of(path)));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same files as they are now.
    #[must_use]
    pub fn look_again(&self) -> Self {
        let look = |(path, _): &(PathBuf, _)| (path.clone(), FileStamp::of(path));
        Self(self.0.iter().map(look).collect())
    }
}

/// Completes once files have changed since they were `read`, and have stayed the same between two checks. Until then, one
/// may be being written, or one of several that belong together, such as a certificate and its key.
pub async fn changed(read: impl Fn() -> WatchedFiles, interval: Duration) {
    let mut last = None;
    loop {
        sleep(interval).await;
        let files = read();
        // File systems can be slow.
        let look = spawn_blocking(move || Some(files.look_again()).filter(|now| *now != files)).await;
        let Ok(look) = look else { continue };
        if look.is_some() && look == last {
            return;
        }
        last = look;
    }
}

impl FileStamp {
    /// The stamp of what is at `path`, readable or not; `None` if nothing is there.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            number: metadata.ino(),
            length: metadata.len(),
            changed_at: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        })
    }
}
