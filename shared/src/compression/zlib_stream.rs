//! The parts of a zlib stream (RFC 1950): DEFLATE blocks (RFC 1951) that refer to nothing before them.
//!
//! A block that is not the last of its stream and ends at a byte boundary can be followed by any other. A sync flush
//! ends a segment that way, with an empty stored block, whose last bytes are 00 00 FF FF. At the end of a WebSocket
//! message, clients take these four bytes for the end of a packet.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};

use super::{Level, adler32::Adler32};

/// The header of a stream: a window of 32 KiB, the default level, no dictionary.
pub(super) const HEADER: [u8; 2] = [0x78, 0x9c];
/// The end of a sync flush: a length of 0, and its complement.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// The first byte, at a byte boundary, of a stored block that is not the last of its stream.
const STORED: u8 = 0;
/// The first byte of a stored block that is the last of its stream.
const LAST_STORED: u8 = 1;
/// The longest stored block, in bytes.
const MOST_STORED: usize = 65_535;
/// The header of a stored block, in bytes: its kind, its length, and the complement of the length.
const STORED_HEAD: usize = 5;

// About 300 KiB, reset before use: one per thread instead of one per session. A process uses the same level for
// everything.
thread_local! {
    static COMPRESS: RefCell<Option<(Level, Compress)>> = const { RefCell::new(None) };
}

/// Compresses `plain` without history into whole bytes. Falls back to stored blocks if compression saves nothing.
pub(super) fn segment(plain: &[u8], level: Level) -> Bytes {
    let as_stored = plain.len() + plain.len().div_ceil(MOST_STORED) * STORED_HEAD;
    let mut out = Vec::with_capacity(as_stored);
    if !deflated(plain, level, &mut out) || out.len() >= as_stored {
        out.clear();
        stored(plain, &mut out);
    }
    out.shrink_to_fit();
    out.into()
}

/// Compresses `plain` into `out` and flushes. Returns `false` if the capacity of `out` is too small.
fn deflated(plain: &[u8], level: Level, out: &mut Vec<u8>) -> bool {
    COMPRESS.with_borrow_mut(|compress| {
        let compress = level.lend(compress, false);
        let status = compress.compress_vec(plain, out, FlushCompress::Sync);
        // zlib has flushed everything if it leaves space.
        matches!(status, Ok(Status::Ok)) && out.len() < out.capacity()
    })
}

/// Appends `plain` uncompressed, in stored blocks.
pub(super) fn stored(plain: &[u8], out: &mut Vec<u8>) {
    for part in plain.chunks(MOST_STORED) {
        let Ok(len) = u16::try_from(part.len()) else {
            unreachable!("a part of {} bytes", part.len())
        };
        out.reserve(STORED_HEAD + part.len());
        out.push(STORED);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(part);
    }
}

/// Ends a message that begins at `start` of `out`. Appends nothing if the message already ends with [`FLUSHED`]: all of
/// its blocks end at a byte boundary, so a peer can decode it, whatever these four bytes are part of.
pub(super) fn flush(start: usize, out: &mut Vec<u8>) {
    let has_end = out.get(start..).is_some_and(|message| message.ends_with(&FLUSHED));
    if !has_end {
        out.push(STORED);
        out.extend_from_slice(&FLUSHED);
    }
}

/// Ends a stream whose checksum is `sum`.
pub(super) fn finish(sum: Adler32, out: &mut Vec<u8>) {
    out.push(LAST_STORED);
    out.extend_from_slice(&FLUSHED);
    out.extend_from_slice(&sum.to_be_bytes());
}
