//! The pieces of a zlib stream (RFC 1950): DEFLATE blocks (RFC 1951) that refer to nothing before them.
//!
//! A block that is not the last of its stream and ends at the border of a byte can be followed by any other. A sync
//! flush ends a segment so: an empty stored block, whose last bytes are 00 00 FF FF. Clients take these four at the end
//! of a WebSocket message for the end of a packet.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};

use super::{Level, adler32::Adler32};

/// What a stream begins with: a window of 32 KiB, the default level, no dictionary.
pub(super) const HEADER: [u8; 2] = [0x78, 0x9c];
/// What a sync flush ends with: the length of no bytes, and its complement.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// Before [`FLUSHED`], at the border of a byte: a stored block that others follow.
const STORED: u8 = 0;
/// The same as the last block of a stream.
const LAST_STORED: u8 = 1;
/// The most bytes of a stored block.
const MOST_STORED: usize = 65_535;
/// The bytes before those of a stored block: its kind, its length, and the complement of that.
const STORED_HEAD: usize = 5;

// About 300 KiB, reset before use: one a thread instead of one a session. A process uses one level for everything.
thread_local! {
    static COMPRESS: RefCell<Option<(Level, Compress)>> = const { RefCell::new(None) };
}

/// Compresses `plain` without history into whole bytes. Stored blocks are taken where they are no longer.
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

/// Fills `out` with `plain` compressed and flushed; false if its capacity is too small for that.
fn deflated(plain: &[u8], level: Level, out: &mut Vec<u8>) -> bool {
    COMPRESS.with_borrow_mut(|compress| {
        let compress = level.lend(compress, false);
        let status = compress.compress_vec(plain, out, FlushCompress::Sync);
        // zlib has flushed everything when it leaves room.
        matches!(status, Ok(Status::Ok)) && out.len() < out.capacity()
    })
}

/// Appends `plain` as it is.
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

/// Ends a message that begins at `start`. Nothing is appended to one that ends with [`FLUSHED`] already: as all of its
/// blocks end at the border of a byte, a peer can decode it whatever these four bytes are to it.
pub(super) fn flush(start: usize, out: &mut Vec<u8>) {
    let has_end = out.get(start..).is_some_and(|message| message.ends_with(&FLUSHED));
    if !has_end {
        out.push(STORED);
        out.extend_from_slice(&FLUSHED);
    }
}

/// Ends a stream of which `sum` is the checksum.
pub(super) fn finish(sum: Adler32, out: &mut Vec<u8>) {
    out.push(LAST_STORED);
    out.extend_from_slice(&FLUSHED);
    out.extend_from_slice(&sum.to_be_bytes());
}
