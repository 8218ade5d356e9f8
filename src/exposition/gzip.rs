//! gzip of a text whose first part is compressed once, and used with many ends.
//!
//! A stream of deflate is a sequence of blocks, and those that were flushed end at a full byte. So the blocks of the first
//! part can be followed by others. The end is stored as it is, since it is short, and a compressor costs more than all
//! the rest of a scrape. The result is one member, which every client can read. No library joins blocks.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Crc, FlushCompress};
use parking_lot::Mutex;

/// A header without a name and a time, from an unknown system
/// ([RFC 1952, section 2.3](https://www.rfc-editor.org/rfc/rfc1952#section-2.3)).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The largest stored block
/// ([RFC 1951, section 3.2.4](https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4)).
const MAX_STORED: usize = 0xffff;

/// Its memory is used again: to get 300 kB from the system costs more than to compress a usual text. It produces raw deflate.
static COMPRESSOR: LazyLock<Mutex<Compress>> = LazyLock::new(|| Mutex::new(Compress::new(Compression::fast(), false)));

/// A part of a text, compressed.
#[derive(Debug)]
pub(super) struct Compressed {
    /// The header, and blocks of which none is the last one.
    blocks: Vec<u8>,
    crc: Crc,
}

impl Compressed {
    /// Compresses the first part of a text.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut blocks = HEADER.to_vec();
        let mut compressor = COMPRESSOR.lock();
        compressor.reset();
        let mut rest = text;
        loop {
            blocks.reserve(64 + rest.len() / 4);
            let before = compressor.total_in();
            compressor
                .compress_vec(rest, &mut blocks, FlushCompress::Sync)
                .expect("a compressor that was reset accepts any bytes");
            let read = usize::try_from(compressor.total_in() - before).expect("a part of `rest`");
            rest = &rest[read..];
            // The flush is complete only if it did not fill the memory.
            if blocks.len() < blocks.capacity() {
                break;
            }
        }
        drop(compressor);
        blocks.shrink_to_fit();
        let mut crc = Crc::new();
        crc.update(text);
        Self { blocks, crc }
    }

    /// The whole text, which ends in `end`, as gzip.
    pub(super) fn with(&self, end: &[u8]) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.combine(&self.crc);
        crc.update(end);
        let mut gzip = Vec::with_capacity(self.blocks.len() + end.len() + 64);
        gzip.extend_from_slice(&self.blocks);
        for chunk in end.chunks(MAX_STORED) {
            push_stored(&mut gzip, false, chunk);
        }
        push_stored(&mut gzip, true, &[]);
        gzip.extend_from_slice(&crc.sum().to_le_bytes());
        gzip.extend_from_slice(&crc.amount().to_le_bytes());
        gzip
    }
}

fn push_stored(gzip: &mut Vec<u8>, is_last: bool, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("at most `MAX_STORED`");
    gzip.push(u8::from(is_last));
    gzip.extend_from_slice(&length.to_le_bytes());
    gzip.extend_from_slice(&(!length).to_le_bytes());
    gzip.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn any_two_parts_are_one_member() {
        let long = "sonorancad_up 1\n".repeat(10_000);
        let states = std::iter::successors(Some(1_u32), |state| Some(state.wrapping_mul(1_664_525).wrapping_add(1)));
        let random: String = states
            .map(|state| char::from(b'!' + state.to_be_bytes()[0] % 94))
            .take(500_000)
            .collect();
        for (first, end) in [
            ("", ""),
            ("first", ""),
            ("", "end"),
            ("first", "end"),
            (&*long, &*long),
            // Which hardly becomes shorter.
            (&*random, &*random),
        ] {
            let compressed = Compressed::new(first.as_bytes());
            for _ in 0..2 {
                let gzip = compressed.with(end.as_bytes());
                let mut decoder = GzDecoder::new(&gzip[..]);
                let mut text = String::new();
                decoder.read_to_string(&mut text).expect("gzip");
                assert_eq!(text, format!("{first}{end}"));
                assert!(decoder.into_inner().is_empty(), "nothing may follow the first member");
            }
        }
    }
}
