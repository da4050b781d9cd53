//! The parts of a zstd stream (RFC 8878): one frame per connection, made of blocks that refer to nothing before them.
//!
//! The first block of a frame cannot refer to anything before it, with one exception: it may use the three repeat
//! offsets that every frame begins with. A segment consists of such first blocks without their frames, and those that
//! use these offsets are rewritten (`block.rs`). So a segment neither depends on nor affects any other part of the
//! stream.
//!
//! Without the feature `zstd` all blocks are raw: the streams are valid, but not compressed.

#[cfg(feature = "zstd")]
mod bits;
#[cfg(feature = "zstd")]
mod block;
#[cfg(feature = "zstd")]
mod compressor;
#[cfg(feature = "zstd")]
mod fse;
#[cfg(feature = "zstd")]
mod repeats;
#[cfg(feature = "zstd")]
mod sequences;

#[cfg(feature = "zstd")]
pub use self::block::{anew, standalone};
#[cfg(feature = "zstd")]
pub(super) use self::compressor::segment;
#[cfg(not(feature = "zstd"))]
use bytes::Bytes;

/// The magic number of a frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The header descriptor of a frame without dictionary, checksum and size.
const DESCRIPTOR: u8 = 0;
/// The base-2 logarithm of the window, in bytes. A segment's block refers to nothing outside itself, so a window of one
/// block is enough.
const WINDOW_LOG: u8 = 16;
/// The header of a stream. Its last byte says how often the window of 2^10 bytes is doubled (RFC 8878, 3.1.1.1.2).
pub(super) const HEADER: [u8; 6] = [
    MAGIC[0],
    MAGIC[1],
    MAGIC[2],
    MAGIC[3],
    DESCRIPTOR,
    (WINDOW_LOG - 10) << 3,
];
/// The longest block before compression, in bytes. It is as long as the window.
const MOST_PLAIN: usize = 1 << WINDOW_LOG;
/// The header of a block, in bytes: one bit for the last block, two for the kind, then the size.
const BLOCK_HEAD: usize = 3;
const RAW: u32 = 0;

/// Puts `plain` into raw blocks.
#[cfg(not(feature = "zstd"))]
pub(super) fn segment(plain: &[u8]) -> Bytes {
    let mut out = Vec::new();
    raw(plain, &mut out);
    out.into()
}

/// Appends `plain` uncompressed, in raw blocks.
pub(super) fn raw(plain: &[u8], out: &mut Vec<u8>) {
    for part in plain.chunks(MOST_PLAIN) {
        append(RAW, part, out);
    }
}

/// Appends a block that is not the last of its frame.
fn append(kind: u32, content: &[u8], out: &mut Vec<u8>) {
    let Ok(len) = u32::try_from(content.len()) else {
        unreachable!("a block of {} bytes", content.len())
    };
    let head = (len << 3) | (kind << 1);
    out.reserve(BLOCK_HEAD + content.len());
    out.extend_from_slice(&head.to_le_bytes()[..BLOCK_HEAD]);
    out.extend_from_slice(content);
}

#[cfg(test)]
#[cfg(feature = "zstd")]
mod tests;
