//! What one Discord session is written through: it numbers its dispatches and knows how its bytes are written.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use shared::{
    compression::{History, Level, Method, Stream},
    discord::{Dispatch, Encoding, Transport},
};

use super::encoded_dispatch::Pieces;
use crate::{backplane::Position, transport::message_head};

/// How a connection's payloads become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coding {
    /// How payloads are written.
    pub encoding: Encoding,
    /// How they are compressed for all at once, if they are.
    pub method: Option<Method>,
    /// How hard zlib tries.
    pub level: Level,
}

/// Where a session is in the log, as its shard counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the last entry that it got or did not want.
    pub number: u64,
    /// Where that stands.
    pub position: Position,
}

/// Shared by a session and its shard; clones are the same line.
#[derive(Debug, Clone)]
pub struct Line(Rc<State>);

#[derive(Debug)]
struct State {
    encoding: Encoding,
    level: Level,
    packing: RefCell<Packing>,
    /// The number of the last dispatch.
    s: Cell<u64>,
    place: Cell<Option<Place>>,
}

/// What a connection's payloads are packed by.
#[derive(Debug)]
enum Packing {
    None,
    /// Put together from what was compressed for all.
    Shared(Stream),
    /// A zlib stream that is compressed for this connection alone.
    Own(Box<History>),
}

thread_local! {
    /// Lent to one message at a time.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Line {
    /// A line on which nothing has been said, and zlib tries this hard.
    pub fn new(encoding: Encoding, transport: Option<Transport>, level: Level) -> Self {
        let method = transport.map(|transport| match transport {
            Transport::Zlib => Method::ZlibStream,
            Transport::Zstd => Method::ZstdStream,
        });
        let packing = method.map_or(Packing::None, |method| Packing::Shared(Stream::new(method)));
        Self(Rc::new(State {
            encoding,
            level,
            packing: RefCell::new(packing),
            s: Cell::new(0),
            place: Cell::new(None),
        }))
    }

    /// Compresses large payloads one by one from now on; where everything is part of a stream this says nothing.
    pub fn pack(&self) {
        let packing = &mut *self.0.packing.borrow_mut();
        if matches!(packing, Packing::None) {
            *packing = Packing::Shared(Stream::new(Method::ZlibPacket));
        }
    }

    /// Goes on with a zlib stream by a compressor of this connection's own, which takes about 300 KiB; where there is no
    /// such stream this says nothing.
    pub fn keep_history(&self) {
        let packing = &mut *self.0.packing.borrow_mut();
        // One that has not begun has still to write its header.
        if matches!(packing, Packing::Shared(stream) if stream.method() == Method::ZlibStream && stream.has_begun()) {
            *packing = Packing::Own(Box::new(History::new(self.0.level)));
        }
    }

    /// How its payloads are written, as far as they are written for all at once.
    pub fn coding(&self) -> Coding {
        let method = match &*self.0.packing.borrow() {
            Packing::Shared(stream) => Some(stream.method()),
            Packing::None | Packing::Own(_) => None,
        };
        Coding {
            encoding: self.0.encoding,
            method,
            level: self.0.level,
        }
    }

    /// The number of the last dispatch.
    pub fn s(&self) -> u64 {
        self.0.s.get()
    }

    /// Where it is in the log; none while its shard has brought it nothing.
    pub fn place(&self) -> Option<Place> {
        self.0.place.get()
    }

    /// Counts on from this dispatch, at this place.
    pub fn go_on(&self, s: u64, place: Option<Place>) {
        self.0.s.set(s);
        self.0.place.set(place);
    }

    /// A payload without a number, written as JSON, as one frame.
    pub fn frame(&self, payload: &str) -> Bytes {
        let bytes = Dispatch::encode(self.0.encoding, payload).unwrap_or_default();
        let pieces = Pieces::of_one(self.coding(), &bytes);
        let mut out = Vec::with_capacity(bytes.len() + 16);
        self.write_around(&pieces, &[], &mut out);
        out.into()
    }

    /// The next dispatch, for this session alone, as one frame. None for data that its encoding cannot say.
    pub fn dispatch(&self, name: &str, d: &str) -> Option<Bytes> {
        let pieces = Pieces::new(self.coding(), name, d)?;
        let mut out = Vec::with_capacity(d.len() + 64);
        self.write(&pieces, &mut out);
        Some(out.into())
    }

    /// Appends the next dispatch as a frame.
    pub(crate) fn write(&self, pieces: &Pieces, out: &mut Vec<u8>) {
        let s = self.0.s.get() + 1;
        self.0.s.set(s);
        let number = Dispatch::number(self.0.encoding, s);
        self.write_around(pieces, &number, out);
    }

    /// Notes where its shard has brought it.
    pub(crate) fn reach(&self, place: Place) {
        self.0.place.set(Some(place));
    }

    fn write_around(&self, pieces: &Pieces, own: &[u8], out: &mut Vec<u8>) {
        match (pieces, &mut *self.0.packing.borrow_mut()) {
            (Pieces::Compressed { before, after }, Packing::Shared(stream)) => in_message(out, |body| {
                let mut message = stream.message(body);
                if let Some(before) = before {
                    message.shared(before);
                    message.own(own);
                }
                message.shared(after);
                message.end();
            }),
            (Pieces::Plain { before, after }, Packing::Own(history)) => in_message(out, |body| {
                history.message([before, own, after], body);
            }),
            (Pieces::Plain { before, after }, _) => {
                let is_text = self.0.encoding == Encoding::Json;
                message_head(is_text, before.len() + own.len() + after.len(), out);
                out.extend_from_slice(before);
                out.extend_from_slice(own);
                out.extend_from_slice(after);
            }
            // Whoever makes pieces asks this line how.
            (Pieces::Compressed { .. }, Packing::None | Packing::Own(_)) => {}
        }
    }
}

/// Appends a binary message whose body is written by `write`.
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

    fn line(transport: Option<Transport>) -> Line {
        Line::new(Encoding::Json, transport, Level::default())
    }

    #[test]
    fn dispatches_are_numbered_and_nothing_else_is() {
        let line = line(None);
        let text = |frame: Bytes| serde_json::from_slice::<Value>(&frame[2..]).unwrap();
        assert_eq!(text(line.frame("{\"op\":10}")), json!({"op": 10}));
        for s in 1..=3 {
            let dispatch = text(line.dispatch("X", "{}").unwrap());
            assert_eq!(dispatch, json!({"t": "X", "s": s, "op": 0, "d": {}}));
        }
        assert_eq!(line.s(), 3);
    }

    #[test]
    fn a_stream_begins_once() {
        let line = line(Some(Transport::Zlib));
        line.pack();
        assert_eq!(line.coding().method, Some(Method::ZlibStream));
        let frames = [line.frame("{\"op\":10}"), line.dispatch("X", "{}").unwrap()];
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
    fn a_stream_with_a_history_goes_on_where_the_shared_one_was() {
        let line = line(Some(Transport::Zlib));
        line.keep_history();
        assert_eq!(line.coding().method, Some(Method::ZlibStream), "nothing has been said");
        let mut frames = vec![line.frame("{\"op\":10}")];
        line.keep_history();
        line.keep_history();
        line.pack();
        assert_eq!(line.coding().method, None);
        let d = json!({"text": "the same, the other, and the same again"}).to_string();
        frames.extend((0..3).map(|_| line.dispatch("X", &d).unwrap()));
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
        let zstd = self::line(Some(Transport::Zstd));
        zstd.frame("{}");
        zstd.keep_history();
        assert_eq!(zstd.coding().method, Some(Method::ZstdStream));
    }

    #[test]
    fn the_level_decides_how_short_a_frame_is() {
        let d = json!({"text": "to and fro, ".repeat(50)}).to_string();
        let length = |level| {
            let line = Line::new(Encoding::Json, Some(Transport::Zlib), Level::new(level));
            line.dispatch("X", &d).unwrap().len()
        };
        assert!(length(0) > d.len() && length(9) * 5 < d.len());
    }

    #[test]
    fn only_what_is_large_is_packed() {
        let line = line(None);
        line.pack();
        assert_eq!(line.dispatch("X", "{}").unwrap()[0], 0x81);
        let d = json!({"text": "x".repeat(5000)}).to_string();
        let packed = line.dispatch("X", &d).unwrap();
        assert_eq!(packed[0], 0x82);
        let head = if packed[1] < 126 { 2 } else { 4 };
        let plain = shared::compression::inflate(&packed[head..], 10_000).unwrap();
        let expected = format!("{{\"t\":\"X\",\"s\":2,\"op\":0,\"d\":{d}}}");
        assert_eq!(String::from_utf8(plain).unwrap(), expected);
    }
}
