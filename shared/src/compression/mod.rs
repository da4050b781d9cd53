//! Compression: a packet that is a stream of its own, and streams that live as long as their connection.
//!
//! A stream of a connection looks as if every connection needed a compressor, and every message for a thousand of them a
//! thousand compressions. It needs neither. What many connections are sent is compressed once, without history, into a
//! [`Segment`] that can stand anywhere in any stream of its [`SegmentFormat`]; what differs from one connection to the next
//! goes between segments as it is. [`Stream`] puts the two together.
//!
//! What that costs is the history between messages. Where it is worth a compressor for each connection, [`History`] keeps it.
//!
//! Nothing here knows what the messages say or who gets them.

mod adler32;
mod history;
mod level;
mod packet;
mod segment;
mod stream;
mod zlib_stream;
mod zstd_stream;

pub use self::{
    history::History,
    level::Level,
    packet::{InflateError, deflate, inflate, inflate_into},
    segment::{Segment, SegmentFormat},
    stream::{Method, Stream, StreamMessage},
};

/// How the blocks of zstd are rewritten, for the fuzz targets of `tests`.
#[doc(hidden)]
pub mod zstd_block {
    pub use super::zstd_stream::{anew, standalone};
}

#[cfg(test)]
mod tests;
