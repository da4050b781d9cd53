//! Parses and encodes WebSocket frames (RFC 6455, section 5.2).

use actix_http::ws::OpCode;
use bytes::{BufMut, Bytes, BytesMut};
use shared::close::Close;

use super::Violation;

/// The size of the longest header that a client can send: two bytes, eight for the length, four for the mask.
pub(super) const MAX_HEADER_BYTES: usize = 14;

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub(super) const MAX_CONTROL_BYTES: u64 = 125;

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) finished: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: [u8; 4],
    /// The declared length of the payload, in bytes.
    pub(super) length: u64,
}

impl FrameHeader {
    /// Parses the header at the front of `bytes`. Returns it with its length in bytes, or `None` while it is
    /// incomplete.
    ///
    /// # Errors
    /// If a client must not send such a header. This is detected as soon as the offending byte has arrived.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("reserved bits are set"));
        }
        let opcode = OpCode::from(first & 0x0f);
        if opcode == OpCode::Bad {
            return Err(Violation::Protocol("unknown opcode"));
        }
        let finished = first & 0x80 != 0;
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frame is not masked"));
        }
        let (length, after_length) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(field) => (minimal(u16::from_be_bytes([field[0], field[1]]).into(), 126)?, 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).map(<[u8; 8]>::try_from) {
                Some(Ok(field)) => (minimal(u64::from_be_bytes(field), 0x1_0000)?, 10),
                _ => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length >> 63 != 0 {
            return Err(Violation::Protocol("length has its highest bit set"));
        }
        if is_control(opcode) && (length > MAX_CONTROL_BYTES || !finished) {
            return Err(Violation::Protocol("control frame is long or fragmented"));
        }
        let Some(Ok(mask)) = bytes.get(after_length..after_length + 4).map(<[u8; 4]>::try_from) else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                finished,
                opcode,
                mask,
                length,
            },
            after_length + 4,
        )))
    }
}

/// Returns `length` if its field is the shortest that can hold it. `least` is the smallest length that needs this
/// field (RFC 6455, section 5.2).
fn minimal(length: u64, least: u64) -> Result<u64, Violation> {
    if length < least {
        return Err(Violation::Protocol("length is not in its shortest form"));
    }
    Ok(length)
}

/// Whether this is the opcode of a control frame, which may come between the fragments of a message.
pub(super) const fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// Unmasks `payload`, which begins at `offset` in the payload of its frame (RFC 6455, section 5.3).
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    #[allow(clippy::cast_possible_truncation, reason = "a remainder of four fits")]
    mask.rotate_left((offset % 4) as usize);
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Encodes a text message as one frame. Server frames are not masked, so all outboxes can share it.
pub fn text_frame(payload: &[u8]) -> Bytes {
    encode(OpCode::Text, payload)
}

/// Encodes a binary message as one frame.
pub fn binary_frame(payload: &[u8]) -> Bytes {
    encode(OpCode::Binary, payload)
}

pub(super) fn pong_frame(payload: &[u8]) -> Bytes {
    encode(OpCode::Pong, payload)
}

/// Encodes a close frame. `None` makes one without a code, to answer a close frame that had none.
pub(super) fn close_frame(close: Option<(u16, &str)>) -> Bytes {
    let mut payload = Vec::new();
    if let Some((code, reason)) = close {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    encode(OpCode::Close, &payload)
}

pub(super) fn catalogued_close(close: Close) -> Bytes {
    close_frame(Some((close.code, close.reason)))
}

/// Writes the frame header of an unfragmented message of `length` bytes.
pub fn message_head(is_text: bool, length: usize, out: &mut impl BufMut) {
    head(if is_text { OpCode::Text } else { OpCode::Binary }, length, out);
}

fn encode(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    head(opcode, payload.len(), &mut frame);
    frame.put_slice(payload);
    frame.freeze()
}

fn head(opcode: OpCode, length: usize, out: &mut impl BufMut) {
    out.put_u8(0x80 | u8::from(opcode));
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => out.put_u8(length),
        (_, Ok(length)) => {
            out.put_u8(126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_refused_at_its_first_invalid_byte() {
        for (bytes, why) in [
            (&[0xc1_u8][..], "reserved bits are set"),
            (&[0x83], "unknown opcode"),
            (&[0x81, 0x05], "frame is not masked"),
            (&[0x89, 0xfe, 0, 126], "control frame is long or fragmented"),
            (&[0x09, 0x80], "control frame is long or fragmented"),
            (
                &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
                "length has its highest bit set",
            ),
        ] {
            assert_eq!(FrameHeader::parse(bytes), Err(Violation::Protocol(why)), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_length_must_be_in_its_shortest_form() {
        let header = |length: &[u8]| [&[0x82], length, &[1, 2, 3, 4]].concat();
        let field_16 = |length: u16| header(&[&[0xfe][..], &length.to_be_bytes()].concat());
        let field_64 = |length: u64| header(&[&[0xff][..], &length.to_be_bytes()].concat());
        let refused = Err(Violation::Protocol("length is not in its shortest form"));
        for bytes in [
            field_16(0),
            field_16(1),
            field_16(125),
            field_64(0),
            field_64(125),
            field_64(126),
            field_64(0xffff),
        ] {
            assert_eq!(FrameHeader::parse(&bytes), refused, "{bytes:02x?}");
            // Refused before the mask has arrived.
            assert_eq!(FrameHeader::parse(&bytes[..bytes.len() - 4]), refused, "{bytes:02x?}");
            assert_eq!(FrameHeader::parse(&bytes[..bytes.len() - 5]), Ok(None), "{bytes:02x?}");
        }
        for (bytes, length) in [
            (header(&[0x80]), 0),
            (header(&[0xfd]), 125),
            (field_16(126), 126),
            (field_16(0xffff), 0xffff),
            (field_64(0x1_0000), 0x1_0000),
            (field_64(u64::MAX >> 1), u64::MAX >> 1),
        ] {
            let (header, taken) = FrameHeader::parse(&bytes).unwrap().unwrap();
            assert_eq!((header.length, taken), (length, bytes.len()), "{bytes:02x?}");
        }
    }

    #[test]
    fn an_incomplete_header_is_not_an_error() {
        let whole = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        for end in 0..whole.len() {
            assert_eq!(FrameHeader::parse(&whole[..end]), Ok(None), "{end} bytes");
        }
        let (header, taken) = FrameHeader::parse(&whole).unwrap().unwrap();
        assert_eq!((header.length, taken), (1 << 40, MAX_HEADER_BYTES));
        assert_eq!(header.mask, [1, 2, 3, 4]);
    }

    #[test]
    fn lengths_are_encoded_in_the_shortest_form() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(text_frame(&vec![b'x'; length]).len(), length + head);
        }
    }

    proptest! {
        #[test]
        fn unmasking_in_parts_equals_unmasking_at_once(
            mut payload in proptest::collection::vec(any::<u8>(), 0..200),
            mask: [u8; 4],
            cut in 0_usize..200,
        ) {
            let plain: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let cut = cut.min(payload.len());
            let (front, back) = payload.split_at_mut(cut);
            unmask(front, mask, 0);
            unmask(back, mask, cut as u64);
            prop_assert_eq!(payload, plain);
        }
    }
}
