//! What many connections are sent, compressed once.

use bytes::Bytes;

use super::{Level, adler32::Adler32, zlib_stream, zstd_stream};

/// What a stream, and so a segment of it, is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentFormat {
    /// DEFLATE blocks (RFC 1951), which both kinds of zlib stream are made of.
    Deflate,
    /// zstd blocks (RFC 8878).
    Zstd,
}

impl SegmentFormat {
    /// Compresses `plain`, of any length, for all streams of this format. The level is zlib's; zstd has its own default.
    pub fn segment(self, plain: &[u8], level: Level) -> Segment {
        let (bytes, sum) = match self {
            Self::Deflate => (zlib_stream::segment(plain, level), Adler32::of(plain)),
            Self::Zstd => (zstd_stream::segment(plain), Adler32::EMPTY),
        };
        Segment {
            format: self,
            bytes,
            plain_len: plain.len(),
            sum,
        }
    }
}

/// Bytes that were compressed once, and that any stream of their format can take at any place any number of times.
///
/// They refer to nothing that stands before them, and begin and end at the border of a byte. A clone shares them.
#[derive(Debug, Clone)]
pub struct Segment {
    format: SegmentFormat,
    bytes: Bytes,
    plain_len: usize,
    /// The checksum of the plain bytes; not kept for zstd, whose stream has none.
    sum: Adler32,
}

impl Segment {
    /// What it is written in.
    pub const fn format(&self) -> SegmentFormat {
        self.format
    }

    /// The compressed bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The length in bytes of what was compressed.
    pub const fn plain_len(&self) -> usize {
        self.plain_len
    }

    pub(super) const fn sum(&self) -> Adler32 {
        self.sum
    }
}
