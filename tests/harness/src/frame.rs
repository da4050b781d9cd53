//! WebSocket frames (RFC 6455 section 5.2), as far as a load client needs them: whole frames from a server that does
//! not fragment, and short masked ones to it. Everything else is an error, so that nothing goes unnoticed.

use anyhow::{Result, bail, ensure};

/// The kind of a frame from the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// The end of the connection.
    Close,
}

/// Splits a stream into frames. It holds no buffer between frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// The beginning of an incomplete frame.
    rest: Vec<u8>,
}

impl FrameReader {
    /// Takes received bytes and passes each frame that they complete to `each`.
    ///
    /// # Errors
    /// Returns an error if a frame is not one that a gateway sends, or if `each` fails.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(FrameKind, &[u8]) -> Result<()>) -> Result<()> {
        if self.rest.is_empty() {
            let used = split_all(bytes, &mut each)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let used = split_all(&self.rest, &mut each)?;
        if used == self.rest.len() {
            self.rest = Vec::new();
        } else {
            self.rest.drain(..used);
        }
        Ok(())
    }
}

/// Passes the complete frames at the start of `bytes` to `each`, and returns their length in bytes.
fn split_all(bytes: &[u8], each: &mut impl FnMut(FrameKind, &[u8]) -> Result<()>) -> Result<usize> {
    let mut used = 0;
    while let Some((kind, payload, length)) = split(&bytes[used..])? {
        each(kind, payload)?;
        used += length;
    }
    Ok(used)
}

/// Returns the first frame of `bytes` and its whole length, if it is complete.
fn split(bytes: &[u8]) -> Result<Option<(FrameKind, &[u8], usize)>> {
    let [first, second, after @ ..] = bytes else {
        return Ok(None);
    };
    let kind = match first {
        0x81 => FrameKind::Text,
        0x82 => FrameKind::Binary,
        0x88 => FrameKind::Close,
        other => bail!("a frame that starts with {other:#04x}: neither a whole message nor Close"),
    };
    ensure!(second & 0x80 == 0, "a masked frame from the server");
    let (length, head) = match second {
        126 => match after.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match after.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        length => (u64::from(*length), 2),
    };
    let end = head + usize::try_from(length)?;
    Ok(bytes.get(head..end).map(|payload| (kind, payload, end)))
}

/// Returns the code of a Close frame, or 1005 if it has none (RFC 6455 section 7.1.5).
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}

/// Encodes a masked text frame.
pub fn text(payload: &str) -> Vec<u8> {
    masked(0x81, payload.as_bytes())
}

/// Encodes a masked binary frame.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    masked(0x82, payload)
}

/// Encodes a masked Close frame.
pub fn close(code: u16) -> Vec<u8> {
    masked(0x88, &code.to_be_bytes())
}

/// Encodes a masked frame. The mask is fixed: masks protect proxies, and there are none here.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];
    let mut frame = vec![first];
    if let Ok(length @ ..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | length);
    } else {
        frame.push(0xfe);
        // Longer frames are never sent: identify is the longest.
        frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(stream: &[u8], a_read: usize) -> Vec<(FrameKind, Vec<u8>)> {
        let mut reader = FrameReader::default();
        let mut found = Vec::new();
        for part in stream.chunks(a_read) {
            let each = |kind, payload: &[u8]| {
                found.push((kind, payload.to_vec()));
                Ok(())
            };
            reader.feed(part, each).unwrap();
        }
        assert_eq!(reader.rest.capacity(), 0, "a reader at rest holds no buffer");
        found
    }

    #[test]
    fn frames_are_found_however_the_stream_is_split() {
        let long = vec![b'x'; 70_000];
        let mut stream = b"\x81\x02{}\x81\x7e\x00\x80".to_vec();
        stream.extend(&long[..128]);
        stream.extend(b"\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70");
        stream.extend(&long);
        stream.extend(b"\x88\x02\x03\xf5");
        let expected = [
            (FrameKind::Text, b"{}".to_vec()),
            (FrameKind::Text, long[..128].to_vec()),
            (FrameKind::Text, long.clone()),
            (FrameKind::Close, b"\x03\xf5".to_vec()),
        ];
        for a_read in [1, 2, 3, 7, 1000, 70_001, usize::MAX] {
            assert_eq!(frames(&stream, a_read), expected, "{a_read} bytes a read");
        }
    }

    #[test]
    fn frames_that_a_gateway_does_not_send_are_errors() {
        for stream in [&b"\x01\x00"[..], b"\x80\x00", b"\xc2\x00", b"\xc1\x00", b"\x81\x80"] {
            let mut reader = FrameReader::default();
            assert!(reader.feed(stream, |_, _| Ok(())).is_err(), "{stream:?}");
        }
    }

    #[test]
    fn a_close_is_masked_and_read_back() {
        let frame = close(1012);
        assert_eq!(frame[..2], [0x88, 0x82]);
        assert_eq!(close_code(&[frame[6] ^ frame[2], frame[7] ^ frame[3]]), 1012);
        assert_eq!(close_code(&[]), 1005);
        assert_eq!(text(&"x".repeat(126))[..4], [0x81, 0xfe, 0, 126]);
    }
}
