//! Files that were read, and whether they have changed since.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The largest file that is read: a chain of certificates takes a few KiB.
const MOST_BYTES: u64 = 1 << 20;

/// The files that were read, each as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(PathBuf, Option<Identity>)>);

/// By what it can be told that a file has changed, or is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    length: u64,
    /// In seconds and nanoseconds; of the content and of the rest, since the former can be set at will.
    changed_at: [(i64, i64); 2],
}

impl Files {
    /// Reads a text, and remembers the file, be it there or not. The text may hold a key: it is wiped when
    /// it is dropped.
    ///
    /// # Errors
    ///
    /// The reason, with the file's name.
    pub(super) fn read(&mut self, path: &Path) -> Result<Zeroizing<String>, String> {
        let mut identity = None;
        let mut read = || -> io::Result<_> {
            // To open a pipe would wait for its writer.
            if !std::fs::metadata(path)?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            identity = Some(Identity::of(&metadata));
            let length = usize::try_from(metadata.len().min(MOST_BYTES)).unwrap_or_default();
            // At once as large as it will be: growing would leave copies behind.
            let mut text = Zeroizing::new(String::with_capacity(length + 1));
            file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
            if text.len() as u64 > MOST_BYTES {
                return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
            }
            Ok(text)
        };
        let text = read().map_err(|error| format!("{} cannot be read: {error}", path.display()));
        self.0.push((path.to_owned(), identity));
        text
    }

    /// The same files as they are now.
    pub(super) fn look_again(&self) -> Self {
        let look = |(path, _): &(PathBuf, _)| {
            let metadata = std::fs::metadata(path).ok();
            (path.clone(), metadata.as_ref().map(Identity::of))
        };
        Self(self.0.iter().map(look).collect())
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
            length: metadata.len(),
            changed_at: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        }
    }
}
