//! WebSocket frames of a client. The first byte of an input decides how the rest is split into reads.

use std::io::{Cursor, Read, Write};

use gateway_node::transport::{Decoded, Decoder, Message, Violation};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    protocol::{Role, WebSocketConfig},
};

/// The largest message, in bytes: small, so that inputs reach it.
const LIMIT: usize = 1024;
/// The largest payload of a control frame (RFC 6455, section 5.5).
const CONTROL: usize = 125;

/// Decodes a stream in one piece, byte by byte, in pieces, and with another WebSocket implementation.
pub fn frames(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = decode(&[stream]);
    assert_eq!(whole, decode(&stream.chunks(1).collect::<Vec<_>>()), "byte by byte");
    let pieces: Vec<_> = stream.chunks(usize::from(*cut).max(2)).collect();
    assert_eq!(whole, decode(&pieces), "in pieces of {cut}");
    for decoded in &whole.0 {
        match decoded {
            Decoded::Message(Message::Text(text)) => assert!(text.len() <= LIMIT),
            Decoded::Message(Message::Binary(bytes)) => assert!(bytes.len() <= LIMIT),
            Decoded::Ping(payload) => assert!(payload.len() <= CONTROL),
            Decoded::Pong | Decoded::Close(_) => {}
        }
    }
    compare(stream, &whole.0);
}

/// Decodes the reads, up to the end or the first violation.
fn decode(reads: &[&[u8]]) -> (Vec<Decoded>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut all = Vec::new();
    let mut arrived = 0;
    for read in reads {
        let mut rest = *read;
        arrived += read.len();
        loop {
            let next = decoder.decode(&mut rest);
            // A buffer doubles when it grows. The length that a header declares is not allocated.
            let most = 2 * arrived.min(LIMIT) + 2 * CONTROL + 128;
            assert!(
                decoder.held() <= most,
                "{} bytes held after {arrived} bytes",
                decoder.held()
            );
            match next {
                Ok(Some(whole)) => all.push(whole),
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
        }
        assert!(rest.is_empty(), "bytes were left that the decoder did not take");
    }
    (all, None)
}

/// Decodes the stream with tungstenite, which must find the same messages up to the first Close.
fn compare(stream: &[u8], decoded: &[Decoded]) {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut reference = WebSocket::from_raw_socket(ReplayPeer(Cursor::new(stream)), Role::Server, Some(config));
    for expected in decoded {
        let found = reference.read();
        let found = match found {
            _ if matches!(expected, Decoded::Close(_)) => return,
            Ok(tungstenite::Message::Text(text)) => Decoded::Message(Message::Text(text.as_str().into())),
            Ok(tungstenite::Message::Binary(bytes)) => Decoded::Message(Message::Binary(bytes)),
            Ok(tungstenite::Message::Ping(payload)) => Decoded::Ping(payload),
            Ok(tungstenite::Message::Pong(_)) => Decoded::Pong,
            other => panic!("{expected:?} is {other:?} to tungstenite"),
        };
        assert_eq!(*expected, found);
    }
}

/// A stream that returns the input and accepts any write.
struct ReplayPeer<'a>(Cursor<&'a [u8]>);

impl Read for ReplayPeer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReplayPeer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
