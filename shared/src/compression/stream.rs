//! The stream of a connection, put together from segments and from bytes of its own.

use super::{
    adler32::Adler32,
    segment::{Segment, SegmentFormat},
    zlib_stream, zstd_stream,
};

/// How the messages of a connection are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Each message is a complete zlib stream, which is what `compress` in an Identify asks for.
    ZlibPacket,
    /// `compress=zlib-stream`: one zlib stream, with a sync flush at the end of each message.
    ZlibStream,
    /// `compress=zstd-stream`: one zstd frame, each message some whole blocks of it.
    ZstdStream,
}

impl Method {
    /// What the segments for such a connection are written in.
    pub const fn format(self) -> SegmentFormat {
        match self {
            Self::ZlibPacket | Self::ZlibStream => SegmentFormat::Deflate,
            Self::ZstdStream => SegmentFormat::Zstd,
        }
    }
}

/// All that the server keeps of the stream of a connection: how it is compressed, and whether it has begun.
#[derive(Debug, Clone)]
pub struct Stream {
    method: Method,
    has_begun: bool,
}

impl Stream {
    /// A stream that has not begun.
    pub const fn new(method: Method) -> Self {
        Self {
            method,
            has_begun: false,
        }
    }

    /// How it is compressed.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Whether it has a message.
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Begins the next message, behind whatever `out` holds. The bytes of all messages go to the peer in this order.
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

/// A message of a stream while it is put together.
#[derive(Debug)]
#[must_use = "a peer waits for the end of a message"]
pub struct StreamMessage<'a> {
    method: Method,
    out: &'a mut Vec<u8>,
    /// Where in `out` it begins.
    start: usize,
    sum: Adler32,
}

impl StreamMessage<'_> {
    /// Adds bytes of this connection alone, which go as they are. Costs five bytes with zlib and three with zstd,
    /// so what stands side by side is better added at once.
    pub fn own(&mut self, plain: &[u8]) {
        match self.method.format() {
            SegmentFormat::Deflate => zlib_stream::stored(plain, self.out),
            SegmentFormat::Zstd => zstd_stream::raw(plain, self.out),
        }
        if self.method == Method::ZlibPacket {
            self.sum = self.sum.followed_by(Adler32::of(plain));
        }
    }

    /// Adds a segment, which has to be of the format of this stream.
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
            // A block is decoded as soon as it is there.
            Method::ZstdStream => {}
        }
    }
}
