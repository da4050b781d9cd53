//! A zlib stream whose messages refer to earlier ones: the best ratio, but it needs a compressor per connection.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::Level;

/// The minimum space to reserve in the output, in bytes.
const ROOM: usize = 256;

/// The compressor of one connection. It takes about 300 KiB, whatever it has compressed.
///
/// It writes no stream header, because others may have written to the stream before it takes over. It never refers to
/// what they wrote.
pub struct History {
    compress: Compress,
}

impl History {
    /// Creates a compressor without history.
    pub fn new(level: Level) -> Self {
        Self {
            compress: Compress::new(Compression::from(level), false),
        }
    }

    /// Appends a message made of `parts` to `out`, flushed so that the peer can decode all of it.
    pub fn message<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        for part in parts {
            self.write(part, FlushCompress::None, out);
        }
        self.write(&[], FlushCompress::Sync, out);
    }

    fn write(&mut self, mut plain: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        loop {
            out.reserve(ROOM + plain.len() / 4);
            let before = self.compress.total_in();
            let status = self.compress.compress_vec(plain, out, flush);
            let read = usize::try_from(self.compress.total_in() - before).unwrap_or(usize::MAX);
            plain = plain.get(read..).unwrap_or_default();
            match status {
                // zlib has written everything if it leaves space.
                Ok(Status::Ok) if plain.is_empty() && out.len() < out.capacity() => return,
                // The space was exactly enough.
                Ok(Status::BufError) if plain.is_empty() => return,
                Ok(Status::Ok | Status::BufError) => {}
                // The stream is never finished, so it never ends and never reaches a state in which zlib refuses input.
                Ok(Status::StreamEnd) => unreachable!("a zlib stream ended by itself"),
                Err(error) => unreachable!("a zlib stream refused its input: {error}"),
            }
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;
    use crate::compression::{Method, Stream};

    fn inflate(peer: &mut Decompress, message: &[u8]) -> Vec<u8> {
        assert!(
            message.ends_with(&[0, 0, 0xff, 0xff]),
            "the message does not end with a sync flush"
        );
        let mut plain = Vec::new();
        let start = peer.total_in();
        loop {
            plain.reserve(1000);
            let read = usize::try_from(peer.total_in() - start).unwrap();
            peer.decompress_vec(&message[read..], &mut plain, FlushDecompress::Sync)
                .unwrap();
            if plain.len() < plain.capacity() {
                assert_eq!(peer.total_in() - start, message.len() as u64);
                return plain;
            }
        }
    }

    /// A history that takes over a stream after its first message, and the peer that has decoded that message.
    fn begun(level: Level) -> (History, Decompress) {
        let (mut peer, mut wire) = (Decompress::new(true), Vec::new());
        let mut stream = Stream::new(Method::ZlibStream);
        let mut message = stream.message(&mut wire);
        message.own(b"hello");
        message.end();
        assert_eq!(inflate(&mut peer, &wire), b"hello");
        (History::new(level), peer)
    }

    #[test]
    fn similar_messages_become_short() {
        for (level, most) in [(1, 30), (6, 30), (9, 30)] {
            let (mut history, mut peer) = begun(Level::new(level));
            let mut lengths = Vec::new();
            for s in 0..1000 {
                let [before, after] = [
                    r#"{"t":"MESSAGE_CREATE","s":"#,
                    r#","op":0,"d":{"content":"as always, word for word"}}"#,
                ];
                let number = s.to_string();
                let mut wire = Vec::new();
                history.message([before.as_bytes(), number.as_bytes(), after.as_bytes()], &mut wire);
                lengths.push(wire.len());
                assert_eq!(inflate(&mut peer, &wire), format!("{before}{s}{after}").as_bytes());
            }
            assert!(
                lengths[1..].iter().all(|length| *length <= most),
                "{level}: {lengths:?}"
            );
        }
    }

    #[test]
    fn an_empty_message_is_valid() {
        let (mut history, mut peer) = begun(Level::default());
        for _ in 0..3 {
            let mut wire = b"before".to_vec();
            history.message([&b""[..]], &mut wire);
            history.message([&b"x"[..]], &mut wire);
            assert_eq!(inflate(&mut peer, &wire[6..]), b"x");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_parts_decode_to_their_bytes(
            level in 0_u32..10,
            messages in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![
                        prop::collection::vec(any::<u8>(), 0..3000),
                        (prop::collection::vec(any::<u8>(), 1..20), 0_usize..9000)
                            .prop_map(|(part, times)| part.repeat(times)),
                    ],
                    1..4,
                ),
                1..12,
            ),
        ) {
            let (mut history, mut peer) = begun(Level::new(level));
            for parts in &messages {
                let mut wire = Vec::new();
                history.message(parts.iter().map(Vec::as_slice), &mut wire);
                prop_assert!(inflate(&mut peer, &wire) == parts.concat());
            }
        }
    }
}
