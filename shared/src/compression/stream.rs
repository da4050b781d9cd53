//! The stream of a connection, assembled from shared segments and from bytes of its own.

use super::{
    adler32::Adler32,
    segment::{Segment, SegmentFormat},
    zlib_stream, zstd_stream,
};

/// How the messages of a connection are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Each message is a complete zlib stream, as `compress` in an Identify requests.
    ZlibPacket,
    /// `compress=zlib-stream`: one zlib stream, in which each message ends with a sync flush.
    ZlibStream,
    /// `compress=zstd-stream`: one zstd frame, in which each message consists of whole blocks.
    ZstdStream,
}

impl Method {
    /// Returns the format of the segments for such a connection.
    pub const fn format(self) -> SegmentFormat {
        match self {
            Self::ZlibPacket | Self::ZlibStream => SegmentFormat::Deflate,
            Self::ZstdStream => SegmentFormat::Zstd,
        }
    }
}

/// The server's whole state of a connection's stream: the compression method, and whether the stream has begun.
#[derive(Debug, Clone)]
pub struct Stream {
    method: Method,
    has_begun: bool,
}

impl Stream {
    /// Creates a stream that has not begun.
    pub const fn new(method: Method) -> Self {
        Self {
            method,
            has_begun: false,
        }
    }

    /// Returns the compression method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Returns whether the stream has a message.
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Begins the next message, which is appended to `out`. The peer must receive the messages in this order.
    pub fn message<'a>(&mut self, out: &'a mut Vec<u8>) -> StreamMessage<'a> {
        let start = out.len();
        let opening: &[u8] = match self.method {
            Method::ZlibPacket => &zlib_stream::HEADER,
            _ if self.has_begun => &[],
            Method::ZlibStream => &zlib_stream::HEADER,
            Method::ZstdStream => &zstd_stream::HEADER,
        };
        self.has_begun = true;
        out.extend_from_slice(opening);
        StreamMessage {
            method: self.method,
            out,
            start,
            sum: Adler32::EMPTY,
        }
    }
}

/// A message of a stream under construction.
#[derive(Debug)]
#[must_use = "a peer cannot decode a message before `end`"]
pub struct StreamMessage<'a> {
    method: Method,
    out: &'a mut Vec<u8>,
    /// The length of `out` before the message.
    start: usize,
    sum: Adler32,
}

impl StreamMessage<'_> {
    /// Adds bytes for this connection only, uncompressed. They take five bytes more with zlib and three with zstd, so
    /// adjacent bytes should be added in one call.
    pub fn own(&mut self, plain: &[u8]) {
        match self.method.format() {
            SegmentFormat::Deflate => zlib_stream::stored(plain, self.out),
            SegmentFormat::Zstd => zstd_stream::raw(plain, self.out),
        }
        if self.method == Method::ZlibPacket {
            self.sum = self.sum.followed_by(Adler32::of(plain));
        }
    }

    /// Adds a segment, which must have the format of this stream.
    pub fn shared(&mut self, segment: &Segment) {
        debug_assert_eq!(segment.format(), self.method.format(), "a segment of another format");
        self.out.extend_from_slice(segment.bytes());
        if self.method == Method::ZlibPacket {
            self.sum = self.sum.followed_by(segment.sum());
        }
    }

    /// Ends the message, so that the peer can decode all of it.
    pub fn end(self) {
        match self.method {
            Method::ZlibPacket => zlib_stream::finish(self.sum, self.out),
            Method::ZlibStream => zlib_stream::flush(self.start, self.out),
            // A decoder decodes a block as soon as the whole block has arrived.
            Method::ZstdStream => {}
        }
    }
}
