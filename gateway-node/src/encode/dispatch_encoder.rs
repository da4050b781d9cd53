//! Per-connection encoding state of a Discord session: the sequence number of its dispatches, and its compression
//! context.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use shared::{
    compression::{History, Level, Method, Stream},
    discord::{Dispatch, Encoding, Transport},
};

use super::{encoded_dispatch::EncodedDispatch, log_cursor::LogCursor, wire_format::WireFormat};
use crate::transport::message_head;

/// Encodes payloads and dispatches for one connection, and numbers the dispatches. Shared by a session and its shard;
/// clones share the state.
#[derive(Debug, Clone)]
pub struct DispatchEncoder(Rc<EncoderState>);

#[derive(Debug)]
struct EncoderState {
    encoding: Encoding,
    level: Level,
    compressor: RefCell<Compressor>,
    /// The sequence number of the last dispatch.
    s: Cell<u64>,
    cursor: Cell<Option<LogCursor>>,
}

/// A connection's compressor.
#[derive(Debug)]
enum Compressor {
    None,
    /// Messages are assembled from segments that were compressed once for all sessions.
    Shared(Stream),
    /// A zlib stream with a compressor for this connection alone.
    Own(Box<History>),
}

thread_local! {
    /// Scratch space for the body of one message.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl DispatchEncoder {
    /// Creates the state of a connection on which nothing has been sent.
    pub fn new(encoding: Encoding, transport: Option<Transport>, level: Level) -> Self {
        let method = transport.map(|transport| match transport {
            Transport::Zlib => Method::ZlibStream,
            Transport::Zstd => Method::ZstdStream,
        });
        let compressor = method.map_or(Compressor::None, |method| Compressor::Shared(Stream::new(method)));
        Self(Rc::new(EncoderState {
            encoding,
            level,
            compressor: RefCell::new(compressor),
            s: Cell::new(0),
            cursor: Cell::new(None),
        }))
    }

    /// From now on, compresses each large payload by itself. Does nothing on a connection that has a compressed stream.
    pub fn compress_large(&self) {
        let compressor = &mut *self.0.compressor.borrow_mut();
        if matches!(compressor, Compressor::None) {
            *compressor = Compressor::Shared(Stream::new(Method::ZlibPacket));
        }
    }

    /// Continues a zlib stream with a compressor of its own, which takes about 300 KiB. Does nothing unless the
    /// connection has a zlib stream on which something has been sent.
    pub fn use_own_compressor(&self) {
        let compressor = &mut *self.0.compressor.borrow_mut();
        // A stream that has not begun still has to write its header.
        if matches!(compressor, Compressor::Shared(stream) if stream.method() == Method::ZlibStream && stream.has_begun())
        {
            *compressor = Compressor::Own(Box::new(History::new(self.0.level)));
        }
    }

    /// Returns the wire format of the parts that it shares with other sessions. A stream with its own compressor counts
    /// as uncompressed.
    pub fn wire_format(&self) -> WireFormat {
        let method = match &*self.0.compressor.borrow() {
            Compressor::Shared(stream) => Some(stream.method()),
            Compressor::None | Compressor::Own(_) => None,
        };
        WireFormat {
            encoding: self.0.encoding,
            method,
            level: self.0.level,
        }
    }

    /// Whether everything is compressed by a compressor of the connection's own.
    pub(crate) fn has_own_compressor(&self) -> bool {
        matches!(&*self.0.compressor.borrow(), Compressor::Own(_))
    }

    /// Returns the sequence number of the last dispatch.
    pub fn s(&self) -> u64 {
        self.0.s.get()
    }

    /// Returns the session's log cursor. It has none before it subscribes.
    pub fn cursor(&self) -> Option<LogCursor> {
        self.0.cursor.get()
    }

    /// Continues after the dispatch numbered `s`, at this log cursor.
    pub fn continue_at(&self, s: u64, cursor: Option<LogCursor>) {
        self.0.s.set(s);
        self.0.cursor.set(cursor);
    }

    /// Encodes a payload without a sequence number, given as JSON, as one frame.
    pub fn frame(&self, payload: &str) -> Bytes {
        let bytes = Dispatch::encode(self.0.encoding, payload).unwrap_or_default();
        let encoded = EncodedDispatch::of_one(self.wire_format(), &bytes);
        let mut out = Vec::with_capacity(bytes.len() + 16);
        self.write_around(&encoded, &[], &mut out);
        out.into()
    }

    /// Encodes the next dispatch, which only this session receives, as one frame. Returns `None` if the data cannot be
    /// represented in its encoding.
    pub fn dispatch(&self, name: &str, d: &str) -> Option<Bytes> {
        let encoded = EncodedDispatch::new(self.wire_format(), name, d)?;
        let mut out = Vec::with_capacity(d.len() + 64);
        self.write(&encoded, &mut out);
        Some(out.into())
    }

    /// Appends the next dispatch to `out` as a frame.
    pub(crate) fn write(&self, encoded: &EncodedDispatch, out: &mut Vec<u8>) {
        let s = self.0.s.get() + 1;
        self.0.s.set(s);
        let number = Dispatch::number(self.0.encoding, s);
        self.write_around(encoded, &number, out);
    }

    /// Records the log cursor up to which its shard has delivered.
    pub(crate) fn advance_to(&self, cursor: LogCursor) {
        self.0.cursor.set(Some(cursor));
    }

    fn write_around(&self, encoded: &EncodedDispatch, own: &[u8], out: &mut Vec<u8>) {
        match (encoded, &mut *self.0.compressor.borrow_mut()) {
            (EncodedDispatch::Compressed { before, after }, Compressor::Shared(stream)) => in_message(out, |body| {
                let mut message = stream.message(body);
                if let Some(before) = before {
                    message.shared(before);
                    message.own(own);
                }
                message.shared(after);
                message.end();
            }),
            (EncodedDispatch::Plain { before, after }, Compressor::Own(history)) => in_message(out, |body| {
                history.message([before, own, after], body);
            }),
            (EncodedDispatch::Plain { before, after }, _) => {
                let is_text = self.0.encoding == Encoding::Json;
                message_head(is_text, before.len() + own.len() + after.len(), out);
                out.extend_from_slice(before);
                out.extend_from_slice(own);
                out.extend_from_slice(after);
            }
            // Unreachable: pieces are made for the wire format that this connection has.
            (EncodedDispatch::Compressed { .. }, Compressor::None | Compressor::Own(_)) => {}
        }
    }
}

/// Appends a binary message. `write` writes its body.
fn in_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    BODY.with_borrow_mut(|body| {
        body.clear();
        write(body);
        message_head(false, body.len(), out);
        out.extend_from_slice(body);
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn encoder(transport: Option<Transport>) -> DispatchEncoder {
        DispatchEncoder::new(Encoding::Json, transport, Level::default())
    }

    #[test]
    fn only_dispatches_are_numbered() {
        let encoder = encoder(None);
        let text = |frame: Bytes| serde_json::from_slice::<Value>(&frame[2..]).unwrap();
        assert_eq!(text(encoder.frame("{\"op\":10}")), json!({"op": 10}));
        for s in 1..=3 {
            let dispatch = text(encoder.dispatch("X", "{}").unwrap());
            assert_eq!(dispatch, json!({"t": "X", "s": s, "op": 0, "d": {}}));
        }
        assert_eq!(encoder.s(), 3);
    }

    #[test]
    fn a_stream_has_one_header() {
        let encoder = encoder(Some(Transport::Zlib));
        encoder.compress_large();
        assert_eq!(encoder.wire_format().method, Some(Method::ZlibStream));
        let frames = [encoder.frame("{\"op\":10}"), encoder.dispatch("X", "{}").unwrap()];
        assert_eq!(frames[0][..1], [0x82]);
        assert_eq!(frames[0][2..4], [0x78, 0x9c]);
        assert_ne!(frames[1][2..4], [0x78, 0x9c]);
        let mut inflate = flate2::Decompress::new(true);
        for (frame, expected) in frames
            .iter()
            .zip(["{\"op\":10}", "{\"t\":\"X\",\"s\":1,\"op\":0,\"d\":{}}"])
        {
            let mut out = Vec::with_capacity(1000);
            inflate
                .decompress_vec(&frame[2..], &mut out, flate2::FlushDecompress::Sync)
                .unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_per_session_compressor_continues_the_zlib_stream() {
        let encoder = encoder(Some(Transport::Zlib));
        encoder.use_own_compressor();
        assert_eq!(
            encoder.wire_format().method,
            Some(Method::ZlibStream),
            "nothing has been sent"
        );
        let mut frames = vec![encoder.frame("{\"op\":10}")];
        encoder.use_own_compressor();
        encoder.use_own_compressor();
        encoder.compress_large();
        assert_eq!(encoder.wire_format().method, None);
        let d = json!({"text": "the same, the other, and the same again"}).to_string();
        frames.extend((0..3).map(|_| encoder.dispatch("X", &d).unwrap()));
        assert!(frames[1].len() > 50 && frames[3].len() < 25, "{}", frames[3].len());
        let mut inflate = flate2::Decompress::new(true);
        let mut said = Vec::with_capacity(1000);
        for frame in &frames {
            assert_eq!(frame[0], 0x82);
            inflate
                .decompress_vec(&frame[2..], &mut said, flate2::FlushDecompress::Sync)
                .unwrap();
        }
        let dispatches = [1, 2, 3].map(|s| format!("{{\"t\":\"X\",\"s\":{s},\"op\":0,\"d\":{d}}}"));
        let expected = format!("{{\"op\":10}}{}", dispatches.concat());
        assert_eq!(String::from_utf8(said).unwrap(), expected);
        let zstd = self::encoder(Some(Transport::Zstd));
        zstd.frame("{}");
        zstd.use_own_compressor();
        assert_eq!(zstd.wire_format().method, Some(Method::ZstdStream));
    }

    #[test]
    fn a_higher_level_makes_shorter_frames() {
        let d = json!({"text": "to and fro, ".repeat(50)}).to_string();
        let length = |level| {
            let encoder = DispatchEncoder::new(Encoding::Json, Some(Transport::Zlib), Level::new(level));
            encoder.dispatch("X", &d).unwrap().len()
        };
        assert!(length(0) > d.len() && length(9) * 5 < d.len());
    }

    #[test]
    fn only_large_payloads_are_compressed() {
        let encoder = encoder(None);
        encoder.compress_large();
        assert_eq!(encoder.dispatch("X", "{}").unwrap()[0], 0x81);
        let d = json!({"text": "x".repeat(5000)}).to_string();
        let packed = encoder.dispatch("X", &d).unwrap();
        assert_eq!(packed[0], 0x82);
        let head = if packed[1] < 126 { 2 } else { 4 };
        let plain = shared::compression::inflate(&packed[head..], 10_000).unwrap();
        let expected = format!("{{\"t\":\"X\",\"s\":2,\"op\":0,\"d\":{d}}}");
        assert_eq!(String::from_utf8(plain).unwrap(), expected);
    }
}
