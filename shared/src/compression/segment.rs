//! Segments: data for many connections, compressed once.

use bytes::Bytes;

use super::{Level, adler32::Adler32, zlib_stream, zstd_stream};

/// The format in which a stream and its segments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentFormat {
    /// DEFLATE blocks (RFC 1951), of which both kinds of zlib stream consist.
    Deflate,
    /// zstd blocks (RFC 8878).
    Zstd,
}

impl SegmentFormat {
    /// Compresses `plain`, of any length, for all streams of this format. `level` is for zlib; zstd always uses its own
    /// default.
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

/// Bytes that were compressed once and are valid anywhere in any stream of their format, any number of times.
///
/// They refer to nothing before them, and begin and end at a byte boundary. A clone shares them.
#[derive(Debug, Clone)]
pub struct Segment {
    format: SegmentFormat,
    bytes: Bytes,
    plain_len: usize,
    /// The checksum of the uncompressed bytes. Not computed for zstd, whose streams have none.
    sum: Adler32,
}

impl Segment {
    /// Returns the format of the compressed bytes.
    pub const fn format(&self) -> SegmentFormat {
        self.format
    }

    /// Returns the compressed bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the uncompressed length, in bytes.
    pub const fn plain_len(&self) -> usize {
        self.plain_len
    }

    pub(super) const fn sum(&self) -> Adler32 {
        self.sum
    }
}
