//! Reads files that may contain secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zeroize::{Zeroize as _, Zeroizing};

use crate::text;

const NOT_REGULAR: &str = "it is not a regular file";

/// Opens a regular file. Anything else is refused: opening a pipe would block until somebody writes to it.
///
/// # Errors
///
/// The file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Opened first, and without waiting: what is at the path can change between a check and opening it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        // A socket.
        Err(Errno::NXIO) => return Err(io::Error::other(NOT_REGULAR)),
        file => File::from(file?),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        let reason = "it is a folder (Docker makes one where the file for a mount is missing)";
        return Err(io::Error::other(reason));
    }
    if !metadata.is_file() {
        return Err(io::Error::other(NOT_REGULAR));
    }
    Ok(file)
}

/// Reads a text of at most `max_bytes` bytes, without a byte order mark. The text is wiped when it is dropped.
///
/// # Errors
///
/// The file cannot be read, is not UTF-8, or is larger. The message says so if it is UTF-16.
pub fn read_secret(file: &File, max_bytes: u64) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(read_at_most(file, max_bytes)?);
    text::decode(std::mem::take(&mut *bytes))
        .map(Zeroizing::new)
        .map_err(|oddity| io::Error::other(format!("it {oddity}")))
}

/// Reads a regular file of at most `max_bytes` bytes that contains no secret.
///
/// # Errors
///
/// The file cannot be read, is not a regular file, or is larger.
pub fn read_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_at_most(&open_regular(path)?, max_bytes)
}

fn read_at_most(file: &File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(max_bytes);
    // Allocated at full size: growing would leave copies behind.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        bytes.zeroize();
        return Err(io::Error::other(format!("it is larger than {} KiB", max_bytes >> 10)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, TrySendError};
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [path, file, pipe] = ["path", "file", "pipe"].map(|name| folder.path().join(name));
        std::fs::write(&file, "text").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (sender, outcomes) = mpsc::sync_channel(1);
        let opened = path.clone();
        // It never ends where opening blocks.
        std::thread::spawn(move || {
            while let Ok(()) | Err(TrySendError::Full(())) = sender.try_send(()) {
                let _ = open_regular(&opened);
            }
        });
        // Sooner or later, each is replaced while it is being opened.
        for _ in 0..5000 {
            for target in [&file, &pipe] {
                std::fs::hard_link(target, folder.path().join("next")).unwrap();
                std::fs::rename(folder.path().join("next"), &path).unwrap();
            }
        }
        for _ in 0..3 {
            outcomes.recv_timeout(Duration::from_secs(60)).expect("opening blocks");
        }
    }
}
