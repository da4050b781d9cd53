//! The compressor of segments.

use std::cell::RefCell;

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter, compress_bound};

use super::{BLOCK_HEAD, DESCRIPTOR, MAGIC, MOST_PLAIN, WINDOW_LOG, append, block, raw};

const LAST: u32 = 1;
pub(super) const COMPRESSED: u32 = 2;
/// zstd's own default level.
pub(super) const LEVEL: i32 = 3;

// About 700 KiB, reset before use: one per thread instead of one per session.
thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(LEVEL));
}

/// Compresses `plain` without history. Falls back to raw blocks where compression saves nothing.
pub(in crate::compression) fn segment(plain: &[u8]) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| compress.segment(plain))
}

/// A zstd compressor, with a buffer for a frame of one block.
pub(super) struct Compress {
    context: CCtx<'static>,
    frame: Vec<u8>,
}

impl Compress {
    pub(super) fn new(level: i32) -> Self {
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
    pub(super) fn only_block(&mut self, part: &[u8]) -> Option<&[u8]> {
        self.context.compress2(&mut self.frame, part).ok()?;
        let [_window, blocks @ ..] = self.frame.strip_prefix(&MAGIC)?.strip_prefix(&[DESCRIPTOR])? else {
            return None;
        };
        let (head, content) = blocks.split_at_checked(BLOCK_HEAD)?;
        let expected = (u32::try_from(content.len()).ok()? << 3) | (COMPRESSED << 1) | LAST;
        (*head == expected.to_le_bytes()[..BLOCK_HEAD]).then_some(content)
    }
}
