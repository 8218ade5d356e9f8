//! Reads files that may contain secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

use crate::text;

/// Opens a regular file. Anything else is refused: opening a pipe would block until somebody writes to it.
///
/// # Errors
///
/// The file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        let reason = "it is a folder (Docker makes one where the file for a mount is missing)";
        return Err(io::Error::other(reason));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)
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
