//! The body of an answer: inflated as it comes, bounded, and few large ones at a time.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::write::MultiGzDecoder;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, Phase};

/// A body beyond this size is large. Up to twice as much is held of each that waits for room, and what came
/// with it at once.
const SMALL_BYTES: usize = MEBIBYTE / 4;

const MEBIBYTE: usize = 1 << 20;

/// All large bodies that are held at once are together no larger than this: two of the largest.
const ROOM_MEBIBYTES: usize = 96;

/// So much of a body is taken over at once.
const STEP_BYTES: usize = 64 << 10;

/// So much of a compressed body is inflated at once: at most 1032 times as much comes out of it, which is less than
/// [`SMALL_BYTES`].
const PACKED_STEP_BYTES: usize = 250;

/// Room for large bodies, shared by all fetches: however many APIs go mad at once, the memory is bounded.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// A whole body, uncompressed; while it is held, so are its room and the turn of its request.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
    _turn: OwnedSemaphorePermit,
}

/// A body that is being read.
enum Decoder {
    Plain(Content),
    Gzip(Box<MultiGzDecoder<Content>>),
}

/// What has been read.
struct Content {
    bytes: Vec<u8>,
    most_bytes: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_MEBIBYTES)))
    }

    /// A place for so many bytes, as soon as there is one.
    async fn take(&self, bytes: usize, until: Instant) -> Result<OwnedSemaphorePermit, FetchError> {
        let mebibytes = bytes.div_ceil(MEBIBYTE).min(ROOM_MEBIBYTES);
        let mebibytes = u32::try_from(mebibytes).expect("the room is that small");
        match timeout_at(until, self.0.clone().acquire_many_owned(mebibytes)).await {
            Ok(place) => Ok(place.expect("the room is never closed")),
            Err(_) => Err(FetchError::Timeout),
        }
    }
}

impl Body {
    /// Reads the whole body, which may be as large as this both compressed and not.
    pub(super) async fn read(
        mut response: Response,
        most_bytes: usize,
        room: &Room,
        turn: OwnedSemaphorePermit,
        until: Instant,
    ) -> Result<Self, FetchError> {
        let mut decoder = Decoder::new(response.headers(), most_bytes)?;
        let announced = response
            .content_length()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > most_bytes) {
            return Err(FetchError::TooLarge(most_bytes));
        }
        // What a compressed body holds is not announced.
        let size = announced.filter(|_| !decoder.is_gzip()).unwrap_or(most_bytes);
        let step = if decoder.is_gzip() {
            PACKED_STEP_BYTES
        } else {
            STEP_BYTES
        };
        let mut received = 0;
        let mut place = None;
        let failed = |error| FetchError::from_transport(&error, Phase::Body);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            received += chunk.len();
            if received > most_bytes {
                return Err(FetchError::TooLarge(most_bytes));
            }
            for part in chunk.chunks(step) {
                decoder.add(part)?;
                if place.is_none() && decoder.content().bytes.len() > SMALL_BYTES {
                    place = Some(room.take(size, until).await?);
                    decoder.content().make_room();
                }
            }
        }
        Ok(Self {
            bytes: decoder.finish()?,
            _place: place,
            _turn: turn,
        })
    }
}

impl Decoder {
    fn new(headers: &HeaderMap, most_bytes: usize) -> Result<Self, FetchError> {
        let content = Content {
            bytes: Vec::new(),
            most_bytes,
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
            FetchError::TooLarge(self.content().most_bytes)
        } else {
            FetchError::InvalidResponse("broken gzip".to_owned())
        }
    }
}

impl Content {
    /// Grows once, to the end: a vector that doubles again and again is held twice meanwhile, and one of
    /// this size goes back to the system when it is dropped. What is not written to takes no memory.
    fn make_room(&mut self) {
        self.bytes.reserve_exact(self.most_bytes - self.bytes.len());
    }
}

impl Write for Content {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.most_bytes {
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
            most_bytes: 1000,
        };
        content.make_room();
        let capacity = content.bytes.capacity();
        assert!((1000..1400).contains(&capacity), "{capacity}");
        content.write_all(&[b' '; 300]).unwrap();
        assert_eq!((content.bytes.len(), content.bytes.capacity()), (1000, capacity));
        let error = content.write_all(b" ").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test]
    async fn room_is_taken_by_size_and_given_back() {
        let room = Room::new();
        let soon = || Instant::now() + std::time::Duration::from_millis(50);
        let first = room.take(48 * MEBIBYTE, soon()).await.unwrap();
        let _second = room.take(46 * MEBIBYTE + 1, soon()).await.unwrap();
        let _third = room.take(MEBIBYTE, soon()).await.unwrap();
        assert!(
            matches!(room.take(1, soon()).await, Err(FetchError::Timeout)),
            "it is full"
        );
        drop(first);
        let _fourth = room.take(48 * MEBIBYTE, soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_above_a_quarter_of_a_mebibyte_needs_room() {
        let room = Room::new();
        let soon = || Instant::now() + std::time::Duration::from_millis(50);
        let place = room.take(ROOM_MEBIBYTES * MEBIBYTE, soon()).await.unwrap();
        let turns = Arc::new(Semaphore::new(1));
        let read = async |bytes: usize| {
            let turn = turns.clone().acquire_owned().await.unwrap();
            let response = axum::http::Response::new(vec![b' '; bytes]);
            Body::read(response.into(), MEBIBYTE, &room, turn, soon()).await
        };
        let small = read(256 << 10).await.unwrap();
        assert_eq!(small.bytes.len(), 256 << 10);
        drop(small);
        assert!(matches!(read((256 << 10) + 1).await, Err(FetchError::Timeout)));
        drop(place);
        let large = read((256 << 10) + 1).await.unwrap();
        assert_eq!(room.0.available_permits(), ROOM_MEBIBYTES - 1);
        drop(large);
        assert_eq!(room.0.available_permits(), ROOM_MEBIBYTES);
    }
}
