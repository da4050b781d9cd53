//! Decompresses the messages of a connection.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use tokio_tungstenite::tungstenite::Message;
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::client::inflate;

/// The end of every message of a `zlib-stream`: an empty stored block.
const SYNC_FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much output space is added at a time.
const ROOM: usize = 16_384;

/// The compression of a connection. Uncompressed messages must be text, and compressed ones binary.
#[derive(Debug)]
pub(super) enum Unpacker {
    /// None for the connection; after an Identify with `compress`, large payloads are one zlib stream each.
    Packets {
        /// Whether there was such an Identify.
        allowed: bool,
    },
    /// One zlib stream for the whole connection.
    Zlib(Decompress),
    /// One zstd frame for the whole connection.
    Zstd(ZstdFrame),
}

/// A zstd frame that is decompressed as it arrives.
pub(super) struct ZstdFrame(DCtx<'static>);

impl Unpacker {
    /// Returns the unpacker for the query that a connection is opened with.
    pub(super) fn new(query: &str) -> Self {
        let compress = query.split('&').find_map(|field| field.strip_prefix("compress="));
        match compress {
            Some("zlib-stream") => Self::Zlib(Decompress::new(true)),
            Some("zstd-stream") => Self::Zstd(ZstdFrame(DCtx::create())),
            // The node closes for an unknown compression; one that only this client does not know fails at the first
            // message.
            _ => Self::Packets { allowed: false },
        }
    }

    /// Allows compressed payloads after an Identify with `compress`. It has no effect on a compressed connection.
    pub(super) fn allow_packets(&mut self) {
        if let Self::Packets { allowed } = self {
            *allowed = true;
        }
    }

    /// Returns the text of one message.
    pub(super) fn unpack(&mut self, message: Message) -> String {
        match (self, message) {
            (Self::Packets { .. }, Message::Text(text)) => text.as_str().to_owned(),
            (Self::Packets { allowed: true }, Message::Binary(packet)) => inflate(&packet),
            (Self::Zlib(stream), Message::Binary(part)) => next_of(stream, &part),
            (Self::Zstd(frame), Message::Binary(part)) => frame.next(&part),
            (unpacker, message) => panic!("{message:?} is no message for {unpacker:?}"),
        }
    }
}

/// Inflates this part of the stream and asserts that it ends with a flush, so that all of its text is there.
fn next_of(stream: &mut Decompress, part: &[u8]) -> String {
    assert!(part.ends_with(&SYNC_FLUSH), "no flush ends {part:?}");
    let begin = stream.total_in();
    let mut bytes = Vec::new();
    loop {
        let taken = usize::try_from(stream.total_in() - begin).expect("no more than the part");
        let spare = bytes.capacity() - bytes.len();
        if taken == part.len() && spare > 0 {
            break;
        }
        bytes.reserve(ROOM);
        let status = stream
            .decompress_vec(&part[taken..], &mut bytes, FlushDecompress::Sync)
            .unwrap_or_else(|error| panic!("{error} in {part:?}"));
        assert_ne!(status, Status::StreamEnd, "the stream ends with {part:?}");
    }
    String::from_utf8(bytes).expect("a payload is text")
}

impl ZstdFrame {
    /// Decompresses this part of the frame, all of whose text must be there.
    fn next(&mut self, part: &[u8]) -> String {
        let mut text = Vec::new();
        let mut input = InBuffer::around(part);
        loop {
            let mut room = [0; ROOM];
            let mut output = OutBuffer::around(&mut room[..]);
            let missing = self.0.decompress_stream(&mut output, &mut input);
            let missing = missing.unwrap_or_else(|code| panic!("{} in {part:?}", zstd_safe::get_error_name(code)));
            assert_ne!(missing, 0, "the frame ends with {part:?}");
            let was_full = output.pos() == ROOM;
            text.extend_from_slice(output.as_slice());
            if input.pos() == part.len() && !was_full {
                return String::from_utf8(text).expect("a payload is text");
            }
        }
    }
}

impl fmt::Debug for ZstdFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZstdFrame")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use tokio_tungstenite::tungstenite::Message;
    use zstd_safe::{CCtx, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

    use super::Unpacker;
    use crate::deflate;

    #[test]
    fn reads_one_stream_message_by_message() {
        let mut unpacker = Unpacker::new("v=10&compress=zlib-stream&encoding=json");
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        for text in ["first", "", "äöü", &"long ".repeat(100_000)] {
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let part = std::mem::take(encoder.get_mut());
            // zlib does not flush twice in a row, so an empty text has no part.
            if !part.is_empty() {
                assert_eq!(unpacker.unpack(Message::binary(part)), *text);
            }
        }
    }

    #[test]
    fn reads_one_frame_message_by_message() {
        let mut unpacker = Unpacker::new("v=10&encoding=json&compress=zstd-stream");
        let mut encoder = CCtx::create();
        for text in [
            "first",
            "äöü",
            &"long ".repeat(100_000),
            &"x".repeat(super::ROOM),
            "last",
        ] {
            let mut part = vec![0; 2 * text.len() + 100];
            let mut output = OutBuffer::around(&mut part[..]);
            let mut input = InBuffer::around(text.as_bytes());
            let flush = ZSTD_EndDirective::ZSTD_e_flush;
            let left = encoder.compress_stream2(&mut output, &mut input, flush);
            assert_eq!(left.ok(), Some(0));
            let part = output.as_slice().to_vec();
            assert_eq!(unpacker.unpack(Message::binary(part)), *text);
        }
    }

    #[test]
    fn reads_packets_that_identify_asked_for() {
        let mut unpacker = Unpacker::new("v=10&encoding=json");
        assert_eq!(unpacker.unpack(Message::text("plain")), "plain");
        unpacker.allow_packets();
        assert_eq!(unpacker.unpack(Message::binary(deflate(b"packed"))), "packed");
        assert_eq!(unpacker.unpack(Message::text("plain")), "plain");
    }

    #[test]
    #[should_panic(expected = "is no message for")]
    fn refuses_an_unrequested_binary_message() {
        Unpacker::new("v=10").unpack(Message::binary(deflate(b"packed")));
    }
}
