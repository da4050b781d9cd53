//! The parts of a zstd stream (RFC 8878): one frame per connection, made of blocks that refer to nothing before them.
//!
//! The first block of a frame cannot refer to anything before it, with one exception: it may use the three repeat
//! offsets that every frame begins with. A segment consists of such first blocks without their frames, and those that
//! use these offsets are rewritten (`block.rs`). So a segment neither depends on nor affects any other part of the
//! stream.

mod bits;
mod block;
mod fse;
mod repeats;
mod sequences;

use std::cell::RefCell;

pub use self::block::{anew, standalone};

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter, compress_bound};

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
const LAST: u32 = 1;
const RAW: u32 = 0;
const COMPRESSED: u32 = 2;
/// zstd's own default level.
const LEVEL: i32 = 3;

// About 700 KiB, reset before use: one per thread instead of one per session.
thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(LEVEL));
}

/// Compresses `plain` without history. Falls back to raw blocks where compression saves nothing.
pub(super) fn segment(plain: &[u8]) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| compress.segment(plain))
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

/// A zstd compressor, with a buffer for a frame of one block.
struct Compress {
    context: CCtx<'static>,
    frame: Vec<u8>,
}

impl Compress {
    fn new(level: i32) -> Self {
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG.into()),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ] {
            if let Err(code) = context.set_parameter(parameter) {
                unreachable!("zstd refused {parameter:?}: {}", zstd_safe::get_error_name(code));
            }
        }
        Self {
            context,
            frame: Vec::with_capacity(compress_bound(MOST_PLAIN)),
        }
    }

    fn segment(&mut self, plain: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(plain.len() / 2 + BLOCK_HEAD);
        for part in plain.chunks(MOST_PLAIN) {
            let only = self.only_block(part);
            match only.and_then(block::standalone) {
                Some(content) if content.len() < part.len() => append(COMPRESSED, &content, &mut out),
                _ => raw(part, &mut out),
            }
        }
        out.shrink_to_fit();
        out.into()
    }

    /// Compresses `part` and returns the content of its block. Returns `None` if the result is not exactly one
    /// compressed block.
    fn only_block(&mut self, part: &[u8]) -> Option<&[u8]> {
        self.context.compress2(&mut self.frame, part).ok()?;
        let [_window, blocks @ ..] = self.frame.strip_prefix(&MAGIC)?.strip_prefix(&[DESCRIPTOR])? else {
            return None;
        };
        let (head, content) = blocks.split_at_checked(BLOCK_HEAD)?;
        let expected = (u32::try_from(content.len()).ok()? << 3) | (COMPRESSED << 1) | LAST;
        (*head == expected.to_le_bytes()[..BLOCK_HEAD]).then_some(content)
    }
}

#[cfg(test)]
mod tests;
