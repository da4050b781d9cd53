//! The pieces of a zstd stream (RFC 8878): one frame for the life of a connection, made of blocks that refer to nothing
//! before them.
//!
//! The first block of a frame cannot refer to anything before it, with one exception: it may count on the three repeat
//! offsets that every frame begins with. A segment is made of such first blocks without their frames, and those that do
//! count on these offsets are written anew (`block.rs`). So neither what a segment refers to nor what it leaves behind
//! matters to any other.

mod bits;
mod block;
mod fse;
mod repeats;
mod sequences;

use std::cell::RefCell;

pub use self::block::{anew, standalone};

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter, compress_bound};

/// What a frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The descriptor of a frame without dictionary, checksum and size.
const DESCRIPTOR: u8 = 0;
/// The logarithm of the window, in bytes. A segment's block refers to nothing outside itself, so a decoder needs no more
/// than what one block holds.
const WINDOW_LOG: u8 = 16;
/// What a stream begins with. The window is 2^10 bytes and as many doublings as its byte says (RFC 8878, 3.1.1.1.2).
pub(super) const HEADER: [u8; 6] = [
    MAGIC[0],
    MAGIC[1],
    MAGIC[2],
    MAGIC[3],
    DESCRIPTOR,
    (WINDOW_LOG - 10) << 3,
];
/// The most bytes of a block before compression, which is the window.
const MOST_PLAIN: usize = 1 << WINDOW_LOG;
/// The bytes before those of a block: a bit for the last one, two for its kind, its size.
const BLOCK_HEAD: usize = 3;
const LAST: u32 = 1;
const RAW: u32 = 0;
const COMPRESSED: u32 = 2;
/// zstd's own default.
const LEVEL: i32 = 3;

// About 700 KiB, reset before use: one a thread instead of one a session.
thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(LEVEL));
}

/// Compresses `plain` without history. Raw blocks are taken where they are no longer.
pub(super) fn segment(plain: &[u8]) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| compress.segment(plain))
}

/// Appends `plain` as it is.
pub(super) fn raw(plain: &[u8], out: &mut Vec<u8>) {
    for part in plain.chunks(MOST_PLAIN) {
        append(RAW, part, out);
    }
}

/// Appends a block that others follow.
fn append(kind: u32, content: &[u8], out: &mut Vec<u8>) {
    let Ok(len) = u32::try_from(content.len()) else {
        unreachable!("a block of {} bytes", content.len())
    };
    let head = (len << 3) | (kind << 1);
    out.reserve(BLOCK_HEAD + content.len());
    out.extend_from_slice(&head.to_le_bytes()[..BLOCK_HEAD]);
    out.extend_from_slice(content);
}

/// zstd's own compressor, with the room for a frame of one block.
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

    /// The content of the block that `part` compresses to; none if that is anything but one compressed block.
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
