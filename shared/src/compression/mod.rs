//! Compression: packets that are each a complete stream, and streams that last as long as their connection.
//!
//! With one stream per connection, every connection seems to need a compressor, and a message for a thousand
//! connections seems to need a thousand compressions. Neither is true. What many connections receive is compressed
//! once, without history, into a [`Segment`] that is valid anywhere in any stream of its [`SegmentFormat`]. What differs
//! between connections is sent uncompressed between segments. [`Stream`] combines the two.
//!
//! The price is the history between messages. Where that is worth a compressor per connection, use [`History`].
//!
//! Nothing here knows the content of messages or their receivers.

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

/// Rewriting of zstd blocks, exposed to the fuzz targets of `tests`.
#[cfg(feature = "zstd")]
#[doc(hidden)]
pub mod zstd_block {
    pub use super::zstd_stream::{anew, standalone};
}

#[cfg(test)]
mod tests;
