//! Decodes bytes into messages: joins fragments, passes control frames on and enforces the rules of RFC 6455.
//!
//! An idle decoder holds no buffer. A busy one holds only what has arrived of a single message; it never allocates for
//! the length that a header declares.

use actix_http::ws::OpCode;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::{
    Violation,
    frame::{FrameHeader, MAX_HEADER_BYTES, is_control, unmask},
};

/// A complete message, joined from its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message. Its UTF-8 was validated as it arrived.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
}

impl Message {
    /// Returns the number of bytes of its payload.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// What the decoder produces.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A complete message.
    Message(Message),
    /// A ping with its payload, which the pong has to repeat.
    Ping(Bytes),
    /// A pong. Its payload is ignored.
    Pong,
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

/// Decodes the frames of one connection. The node uses it only in the driver. It is public for `tests`, which measures
/// the cost of a message.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The start of an incomplete header.
    head: [u8; MAX_HEADER_BYTES],
    head_bytes: u8,
    frame: Option<PartialFrame>,
    /// The opcode of the current message, text or binary. `None` between messages.
    kind: Option<OpCode>,
    message: BytesMut,
    /// How many bytes of the current text message are known to be valid UTF-8.
    valid: usize,
    /// The payload of the current control frame, as far as it has arrived.
    control: Option<Box<BytesMut>>,
    broken: bool,
    /// Control and continuation frames since the last [`take_extra_frames`](Self::take_extra_frames).
    extra_frames: u16,
}

#[derive(Debug)]
struct PartialFrame {
    header: FrameHeader,
    taken: u64,
}

impl Decoder {
    /// Creates a decoder for messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            head: [0; MAX_HEADER_BYTES],
            head_bytes: 0,
            frame: None,
            kind: None,
            message: BytesMut::new(),
            valid: 0,
            control: None,
            broken: false,
            extra_frames: 0,
        }
    }

    /// Returns how many control frames and continuations have begun since the last call. No session receives them, so
    /// no session can charge for them as it does for messages.
    pub(super) fn take_extra_frames(&mut self) -> u16 {
        std::mem::take(&mut self.extra_frames)
    }

    /// Whether a violation has ended the stream.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// How many bytes are still missing of the current frame.
    pub(super) fn missing(&self) -> u64 {
        self.frame.as_ref().map_or(0, |frame| frame.header.length - frame.taken)
    }

    /// The capacity, in bytes, of the buffers of the current message and control frame. For `tests`, which decodes
    /// arbitrary bytes.
    #[doc(hidden)]
    pub fn held(&self) -> usize {
        self.message.capacity() + self.control.as_ref().map_or(0, |control| control.capacity())
    }

    /// Consumes bytes from the front of `input` until a message or a control frame is complete. Returns `None` if
    /// `input` ends first.
    ///
    /// # Errors
    /// If the peer breaks a rule. The rest of the stream then has no meaning and must not be decoded.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Decoded>, Violation> {
        let decoded = self.advance(input);
        self.broken |= decoded.is_err();
        decoded
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Decoded>, Violation> {
        loop {
            if self.frame.is_none() && !self.begin(input)? {
                return Ok(None);
            }
            let Some(frame) = &mut self.frame else {
                return Ok(None);
            };
            let missing = frame.header.length - frame.taken;
            let take = usize::try_from(missing).map_or(input.len(), |missing| missing.min(input.len()));
            let (chunk, rest) = input.split_at(take);
            *input = rest;
            let control = is_control(frame.header.opcode);
            let buffer = if control {
                &mut **self.control.get_or_insert_default()
            } else {
                &mut self.message
            };
            let start = buffer.len();
            buffer.extend_from_slice(chunk);
            unmask(&mut buffer[start..], frame.header.mask, frame.taken);
            frame.taken += take as u64;
            if self.kind == Some(OpCode::Text) && !control {
                self.check_text()?;
            }
            if self.missing() > 0 {
                return Ok(None);
            }
            if let Some(decoded) = self.end()? {
                return Ok(Some(decoded));
            }
        }
    }

    /// Reads a header. Returns `false` while it is incomplete.
    fn begin(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        let kept = usize::from(self.head_bytes);
        let fill = input.len().min(MAX_HEADER_BYTES - kept);
        self.head[kept..kept + fill].copy_from_slice(&input[..fill]);
        let Some((header, length)) = FrameHeader::parse(&self.head[..kept + fill])? else {
            // The sum is at most MAX_HEADER_BYTES.
            self.head_bytes = u8::try_from(kept + fill).unwrap_or_default();
            *input = &input[fill..];
            return Ok(false);
        };
        *input = &input[length - kept..];
        self.head_bytes = 0;
        self.admit(header)?;
        self.frame = Some(PartialFrame { header, taken: 0 });
        Ok(true)
    }

    /// Checks that a frame may come here and that its message stays within the limit.
    fn admit(&mut self, header: FrameHeader) -> Result<(), Violation> {
        match (header.opcode, self.kind) {
            (OpCode::Continue, None) => return Err(Violation::Protocol("continuation of nothing")),
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(Violation::Protocol("new message inside a fragmented one"));
            }
            (OpCode::Text | OpCode::Binary, None) => self.kind = Some(header.opcode),
            _ => {}
        }
        let room = (self.limit - self.message.len().min(self.limit)) as u64;
        if !is_control(header.opcode) && header.length > room {
            return Err(Violation::TooBig);
        }
        if !matches!(header.opcode, OpCode::Text | OpCode::Binary) {
            self.extra_frames = self.extra_frames.saturating_add(1);
        }
        Ok(())
    }

    /// Fails as soon as the text cannot become valid UTF-8, whatever follows.
    fn check_text(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.message[self.valid..]) {
            Ok(_) => self.valid = self.message.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Violation::InvalidUtf8),
        }
        Ok(())
    }

    fn take_control(&mut self) -> Bytes {
        self.control.take().map(|control| control.freeze()).unwrap_or_default()
    }

    /// Ends the current frame. Returns the message or control frame that it completes, or `None` for a fragment.
    fn end(&mut self) -> Result<Option<Decoded>, Violation> {
        let Some(PartialFrame { header, .. }) = self.frame.take() else {
            return Ok(None);
        };
        match header.opcode {
            OpCode::Ping => return Ok(Some(Decoded::Ping(self.take_control()))),
            OpCode::Pong => {
                self.control = None;
                return Ok(Some(Decoded::Pong));
            }
            OpCode::Close => return close_code(&self.take_control()).map(|code| Some(Decoded::Close(code))),
            _ if !header.finished => return Ok(None),
            _ => {}
        }
        let message = std::mem::take(&mut self.message).freeze();
        self.valid = 0;
        let message = if self.kind.take() == Some(OpCode::Text) {
            Message::Text(ByteString::try_from(message).map_err(|_| Violation::InvalidUtf8)?)
        } else {
            Message::Binary(message)
        };
        Ok(Some(Decoded::Message(message)))
    }
}

/// Returns the code of a close frame. Fails if the code is one that must not be sent (RFC 6455, section 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::Protocol("close code is cut off")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::Protocol("close code may not be sent"));
            }
            std::str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
            Ok(Some(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 11, 13, 17];
        let mut bytes = vec![first];
        if payload.len() < 126 {
            bytes.push(0x80 | u8::try_from(payload.len()).unwrap());
        } else {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    fn decode_all(decoder: &mut Decoder, mut input: &[u8]) -> Result<Vec<Decoded>, Violation> {
        let mut all = Vec::new();
        while let Some(decoded) = decoder.decode(&mut input)? {
            all.push(decoded);
        }
        assert!(input.is_empty());
        Ok(all)
    }

    fn text(text: &'static str) -> Decoded {
        Decoded::Message(Message::Text(ByteString::from_static(text)))
    }

    #[test]
    fn control_frames_pass_between_fragments() {
        let bytes = [
            frame(0x01, b"he"),
            frame(0x89, b"ping"),
            frame(0x00, b"l"),
            frame(0x8a, b""),
            frame(0x80, b"lo"),
        ]
        .concat();
        let all = decode_all(&mut Decoder::new(64), &bytes).unwrap();
        assert_eq!(
            all,
            [Decoded::Ping(Bytes::from_static(b"ping")), Decoded::Pong, text("hello")]
        );
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_any_payload() {
        let mut head = vec![0x82, 0xff];
        head.extend((1_u64 << 40).to_be_bytes());
        head.extend([0; 4]);
        let mut decoder = Decoder::new(65_536);
        assert_eq!(decode_all(&mut decoder, &head), Err(Violation::TooBig));
        assert_eq!(decoder.message.capacity(), 0);
    }

    #[test]
    fn fragments_count_together_against_the_limit() {
        let bytes = [frame(0x02, &[0; 40]), frame(0x80, &[0; 25])].concat();
        assert_eq!(decode_all(&mut Decoder::new(64), &bytes), Err(Violation::TooBig));
        assert_eq!(decode_all(&mut Decoder::new(65), &bytes).unwrap().len(), 1);
    }

    #[test]
    fn invalid_utf8_is_refused_at_the_first_invalid_byte() {
        let mut decoder = Decoder::new(64);
        let bytes = frame(0x81, b"\xce\xba\xf4\x90\x80\x80");
        // Up to and including 0xf4 the text may still become valid.
        assert_eq!(decode_all(&mut decoder, &bytes[..bytes.len() - 3]), Ok(vec![]));
        let mut next = &bytes[bytes.len() - 3..bytes.len() - 2];
        assert_eq!(decoder.decode(&mut next), Err(Violation::InvalidUtf8));
    }

    #[test]
    fn a_fragment_but_not_a_text_may_end_inside_a_character() {
        let euro = "€".as_bytes();
        let whole = [frame(0x01, &euro[..1]), frame(0x80, &euro[1..])].concat();
        assert_eq!(decode_all(&mut Decoder::new(64), &whole).unwrap(), [text("€")]);
        assert_eq!(
            decode_all(&mut Decoder::new(64), &frame(0x81, &euro[..2])),
            Err(Violation::InvalidUtf8)
        );
    }

    #[test]
    fn only_close_codes_that_may_be_sent_are_accepted() {
        for code in [1000_u16, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert_eq!(
                decode_all(&mut Decoder::new(64), &frame(0x88, &code.to_be_bytes())).unwrap(),
                [Decoded::Close(Some(code))]
            );
        }
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            assert!(
                decode_all(&mut Decoder::new(64), &frame(0x88, &code.to_be_bytes())).is_err(),
                "{code}"
            );
        }
        assert!(decode_all(&mut Decoder::new(64), &frame(0x88, &[3])).is_err());
        assert_eq!(
            decode_all(&mut Decoder::new(64), &frame(0x88, b"\x03\xe8\xff")),
            Err(Violation::InvalidUtf8)
        );
        assert_eq!(
            decode_all(&mut Decoder::new(64), &frame(0x88, b"")).unwrap(),
            [Decoded::Close(None)]
        );
    }

    #[test]
    fn fragments_out_of_order_are_violations() {
        assert!(decode_all(&mut Decoder::new(64), &frame(0x80, b"x")).is_err());
        assert!(decode_all(&mut Decoder::new(64), &[frame(0x01, b"x"), frame(0x81, b"y")].concat()).is_err());
    }

    proptest! {
        #[test]
        fn results_do_not_depend_on_how_the_stream_is_cut(
            parts in proptest::collection::vec((0_u8..3, "[a-zé€]{0,200}"), 1..6),
            cuts in proptest::collection::vec(1_usize..40, 1..40),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &parts {
                match kind {
                    0 => bytes.extend(frame(0x81, payload.as_bytes())),
                    1 => {
                        let (front, back) = payload.as_bytes().split_at(payload.len() / 2);
                        bytes.extend(frame(0x01, front));
                        bytes.extend(frame(0x89, b"p"));
                        bytes.extend(frame(0x80, back));
                    }
                    _ => bytes.extend(frame(0x82, payload.as_bytes())),
                }
            }
            let whole = decode_all(&mut Decoder::new(4096), &bytes).unwrap();
            let mut decoder = Decoder::new(4096);
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.extend(decode_all(&mut decoder, piece).unwrap());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn arbitrary_bytes_never_exceed_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(128);
            let _ = decode_all_or_stop(&mut decoder, &bytes);
            let control = decoder.control.as_ref();
            prop_assert!(decoder.message.len() <= 128 && control.is_none_or(|control| control.len() <= 125));
        }
    }

    fn decode_all_or_stop(decoder: &mut Decoder, mut input: &[u8]) -> Result<(), Violation> {
        while decoder.decode(&mut input)?.is_some() {}
        Ok(())
    }
}
