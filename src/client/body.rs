//! The body of a response: decompressed as it arrives, bounded, and only a few large ones at a time.
//!
//! reqwest's own gzip with a limited body would not do: it grows a buffer by doubling, so that a large body is in
//! memory twice, and it cannot wait for shared memory once a body turns out to be large.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::write::MultiGzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, Phase};

/// A body beyond this size is large. A body that waits for memory has up to twice this size in memory, and the rest
/// of its last chunk.
const SMALL_BYTES: usize = MEBIBYTE / 4;

const MEBIBYTE: usize = 1 << 20;

/// The size of all large bodies together: two of the largest.
const MEMORY_MEBIBYTES: usize = 96;

/// Bytes copied per step.
const STEP_BYTES: usize = 64 << 10;

/// Compressed bytes decoded per step. Deflate expands at most 1032:1, so one step yields less than [`SMALL_BYTES`].
const PACKED_STEP_BYTES: usize = 250;

/// Memory for large bodies, shared by all fetches: it is bounded however many APIs misbehave at once.
#[derive(Clone, Debug)]
pub(super) struct BodyMemory(Arc<Semaphore>);

/// A whole body, uncompressed. It keeps its share of the memory and the permit of its request until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    _memory: Option<OwnedSemaphorePermit>,
    _permit: OwnedSemaphorePermit,
}

/// A body that is being read.
enum Decoder {
    Plain(Content),
    Gzip(Box<MultiGzDecoder<Content>>),
}

/// The part that has been read.
struct Content {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl BodyMemory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_MEBIBYTES)))
    }

    /// Takes a share of this many bytes as soon as it is free. A body larger than all of it takes all of it.
    async fn take(&self, bytes: usize, until: Instant) -> Result<OwnedSemaphorePermit, FetchError> {
        let mebibytes = bytes.div_ceil(MEBIBYTE).min(MEMORY_MEBIBYTES);
        let mebibytes = u32::try_from(mebibytes).expect("the whole memory is that small");
        match timeout_at(until, self.0.clone().acquire_many_owned(mebibytes)).await {
            Ok(share) => Ok(share.expect("the semaphore is never closed")),
            Err(_) => Err(FetchError::Timeout),
        }
    }
}

impl Body {
    /// Reads the whole body, which may have `max_bytes` before and after decompression.
    pub(super) async fn read(
        mut response: Response,
        max_bytes: usize,
        memory: &BodyMemory,
        permit: OwnedSemaphorePermit,
        until: Instant,
    ) -> Result<Self, FetchError> {
        let mut decoder = Decoder::new(response.headers(), max_bytes)?;
        let announced = response
            .content_length()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > max_bytes) {
            return Err(FetchError::TooLarge(max_bytes));
        }
        // `Content-Length` does not give the size after decompression, so the maximum is assumed.
        let size = announced.filter(|_| !decoder.is_gzip()).unwrap_or(max_bytes);
        let step = if decoder.is_gzip() {
            PACKED_STEP_BYTES
        } else {
            STEP_BYTES
        };
        let mut received = 0;
        // `None` while the body is small: most bodies never need a share.
        let mut share = None;
        let failed = |error| FetchError::from_transport(&error, Phase::Body);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            received += chunk.len();
            if received > max_bytes {
                return Err(FetchError::TooLarge(max_bytes));
            }
            for part in chunk.chunks(step) {
                decoder.add(part)?;
                if share.is_none() && decoder.content().bytes.len() > SMALL_BYTES {
                    share = Some(memory.take(size, until).await?);
                    decoder.content().reserve_all();
                }
            }
        }
        Ok(Self {
            bytes: decoder.finish()?,
            _memory: share,
            _permit: permit,
        })
    }
}

impl Decoder {
    fn new(headers: &HeaderMap, max_bytes: usize) -> Result<Self, FetchError> {
        let content = Content {
            bytes: Vec::new(),
            max_bytes,
        };
        let coding = headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        match coding.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Plain(content)),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(content)))),
            _ => Err(FetchError::InvalidResponse("unknown content encoding".to_owned())),
        }
    }

    fn is_gzip(&self) -> bool {
        matches!(self, Self::Gzip(_))
    }

    fn content(&mut self) -> &mut Content {
        match self {
            Self::Plain(content) => content,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn add(&mut self, part: &[u8]) -> Result<(), FetchError> {
        let added = match self {
            Self::Plain(content) => content.write_all(part),
            Self::Gzip(decoder) => decoder.write_all(part),
        };
        added.map_err(|error| self.failure(&error))
    }

    fn finish(mut self) -> Result<Vec<u8>, FetchError> {
        if let Self::Gzip(decoder) = &mut self {
            decoder.try_finish().map_err(|error| self.failure(&error))?;
        }
        Ok(std::mem::take(&mut self.content().bytes))
    }

    fn failure(&mut self, error: &io::Error) -> FetchError {
        if error.kind() == io::ErrorKind::FileTooLarge {
            FetchError::TooLarge(self.content().max_bytes)
        } else {
            FetchError::InvalidResponse("broken gzip".to_owned())
        }
    }
}

impl Content {
    /// Grows once, to the final size: a vector that doubles is in memory twice meanwhile, and one of this size goes back
    /// to the system when it is dropped. Pages that are not written to take no memory.
    fn reserve_all(&mut self) {
        self.bytes.reserve_exact(self.max_bytes - self.bytes.len());
    }
}

impl Write for Content {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_grows_no_further() {
        let mut content = Content {
            bytes: vec![b' '; 700],
            max_bytes: 1000,
        };
        content.reserve_all();
        let capacity = content.bytes.capacity();
        assert!((1000..1400).contains(&capacity), "{capacity}");
        content.write_all(&[b' '; 300]).unwrap();
        assert_eq!((content.bytes.len(), content.bytes.capacity()), (1000, capacity));
        let error = content.write_all(b" ").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test]
    async fn memory_is_taken_by_size_and_given_back() {
        let memory = BodyMemory::new();
        let soon = || Instant::now() + std::time::Duration::from_millis(50);
        let first = memory.take(48 * MEBIBYTE, soon()).await.unwrap();
        let _second = memory.take(46 * MEBIBYTE + 1, soon()).await.unwrap();
        let _third = memory.take(MEBIBYTE, soon()).await.unwrap();
        assert!(
            matches!(memory.take(1, soon()).await, Err(FetchError::Timeout)),
            "it is full"
        );
        drop(first);
        let _fourth = memory.take(48 * MEBIBYTE, soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_above_a_quarter_of_a_mebibyte_needs_memory() {
        let memory = BodyMemory::new();
        let soon = || Instant::now() + std::time::Duration::from_millis(50);
        let share = memory.take(MEMORY_MEBIBYTES * MEBIBYTE, soon()).await.unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let read = async |bytes: usize| {
            let permit = permits.clone().acquire_owned().await.unwrap();
            let response = axum::http::Response::new(vec![b' '; bytes]);
            Body::read(response.into(), MEBIBYTE, &memory, permit, soon()).await
        };
        let small = read(256 << 10).await.unwrap();
        assert_eq!(small.bytes.len(), 256 << 10);
        drop(small);
        assert!(matches!(read((256 << 10) + 1).await, Err(FetchError::Timeout)));
        drop(share);
        let large = read((256 << 10) + 1).await.unwrap();
        assert_eq!(memory.0.available_permits(), MEMORY_MEBIBYTES - 1);
        drop(large);
        assert_eq!(memory.0.available_permits(), MEMORY_MEBIBYTES);
    }
}
