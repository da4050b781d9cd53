//! Streams of many messages, decoded by decoders that know nothing about segments.

use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::*;
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::*;

/// The decoder of a client, at the other end of a stream.
enum Peer {
    Packet,
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

impl Peer {
    fn new(method: Method) -> Self {
        match method {
            Method::ZlibPacket => Self::Packet,
            Method::ZlibStream => Self::Zlib(Decompress::new(true)),
            Method::ZstdStream => Self::Zstd(DCtx::create()),
        }
    }

    /// Decodes a whole message, without anything that follows it in the stream.
    fn receive(&mut self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Packet => inflate(message, usize::MAX).unwrap(),
            Self::Zlib(decompress) => {
                assert!(
                    message.ends_with(&[0, 0, 0xff, 0xff]),
                    "the message does not end with a sync flush"
                );
                let mut plain = Vec::new();
                let start = decompress.total_in();
                loop {
                    plain.reserve(1000);
                    let read = usize::try_from(decompress.total_in() - start).unwrap();
                    let status = decompress.decompress_vec(&message[read..], &mut plain, FlushDecompress::Sync);
                    assert!(matches!(status, Ok(Status::Ok | Status::BufError)), "{status:?}");
                    if plain.len() < plain.capacity() {
                        break;
                    }
                }
                assert_eq!(decompress.total_in() - start, message.len() as u64);
                plain
            }
            Self::Zstd(context) => {
                let mut input = InBuffer::around(message);
                let mut plain = Vec::new();
                let mut room = [0; 1000];
                loop {
                    let mut output = OutBuffer::around(&mut room[..]);
                    let hint = context.decompress_stream(&mut output, &mut input).unwrap();
                    assert_ne!(hint, 0, "the frame has ended");
                    plain.extend_from_slice(output.as_slice());
                    if input.pos == message.len() && output.pos() < output.capacity() {
                        return plain;
                    }
                }
            }
        }
    }
}

const METHODS: [Method; 3] = [Method::ZlibPacket, Method::ZlibStream, Method::ZstdStream];

/// A dispatch of 130 bytes to a few KiB, split at its sequence number.
fn event(number: u64) -> (String, String) {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = 1_100_000_000_000_000_000 + (mixed >> 8);
    let (name, data) = match mixed >> 62 {
        0 => (
            "TYPING_START",
            format!(r#""timestamp":{}"#, 1_750_000_000 + number % 1_000_000),
        ),
        1 => (
            "MESSAGE_CREATE",
            format!(r#""content":"{}""#, "-".repeat(usize::try_from(mixed % 90).unwrap())),
        ),
        2 => (
            "GUILD_MEMBER_ADD",
            format!(
                r#""roles":[{}],"nick":null"#,
                format!(r#""{id}","#).repeat(10).trim_end_matches(',')
            ),
        ),
        _ => (
            "MESSAGE_CREATE",
            format!(r#""content":"{}""#, format!("{mixed:x} says {number}, ").repeat(40)),
        ),
    };
    let rest = format!(
        r#","op":0,"d":{{"guild_id":"{id}","channel_id":"{}",{data}}}}}"#,
        id ^ 0xffff
    );
    (format!(r#"{{"t":"{name}","s":"#), rest)
}

#[test]
fn a_stream_takes_two_bytes() {
    assert_eq!(size_of::<Stream>(), 2);
}

#[test]
fn each_session_decodes_its_own_messages_among_20_000() {
    for method in METHODS {
        let mut sessions: Vec<_> = (0..7).map(|_| (Stream::new(method), Peer::new(method), 0)).collect();
        let mut wire = Vec::new();
        for number in 0..20_000 {
            let (head, rest) = event(number);
            let shared = method.format().segment(rest.as_bytes(), Level::default());
            // Every fifth message is for one session only.
            let only = (number % 5 == 0).then_some(usize::try_from(number / 5 % 7).unwrap());
            for (index, (stream, peer, sequence)) in sessions.iter_mut().enumerate() {
                if number > 2000 && number % 7 != 0 && only.is_none() || only.is_some_and(|only| only != index) {
                    continue;
                }
                *sequence += 1;
                let own = format!("{head}{sequence}");
                wire.clear();
                let mut message = stream.message(&mut wire);
                message.own(own.as_bytes());
                message.shared(&shared);
                message.end();
                assert!(
                    peer.receive(&wire) == format!("{own}{rest}").into_bytes(),
                    "{method:?}: {number}"
                );
            }
        }
    }
}

#[test]
fn a_message_costs_a_few_bytes_more_than_its_pieces() {
    for (method, first, most) in [
        (Method::ZlibPacket, 16, 16),
        (Method::ZlibStream, 12, 10),
        (Method::ZstdStream, 9, 3),
    ] {
        let mut stream = Stream::new(method);
        let mut wire = Vec::new();
        for number in 0..500 {
            let (head, rest) = event(number);
            let shared = method.format().segment(rest.as_bytes(), Level::default());
            let own = format!("{head}{number}");
            wire.clear();
            let mut message = stream.message(&mut wire);
            message.own(own.as_bytes());
            message.shared(&shared);
            message.end();
            let more = wire.len() - own.len() - shared.bytes().len();
            assert!(more <= if number == 0 { first } else { most }, "{method:?}: {more}");
        }
    }
}

#[test]
fn segments_of_long_data_are_much_shorter() {
    for format in [SegmentFormat::Deflate, SegmentFormat::Zstd] {
        let (_, rest) = (0..100).map(event).find(|(_, rest)| rest.len() > 1000).unwrap();
        let segment = format.segment(rest.as_bytes(), Level::default());
        assert!(
            segment.bytes().len() * 3 < rest.len(),
            "{format:?}: {}",
            segment.bytes().len()
        );
        assert_eq!(segment.plain_len(), rest.len());
        assert_eq!(segment.format(), format);
    }
}

#[test]
fn a_segment_has_the_requested_level() {
    let plain: String = (0..200).map(|number| event(number).1).collect();
    let length = |level| {
        let segment = SegmentFormat::Deflate.segment(plain.as_bytes(), Level::new(level));
        let (mut peer, mut wire) = (Peer::new(Method::ZlibStream), Vec::new());
        let mut stream = Stream::new(Method::ZlibStream);
        let mut message = stream.message(&mut wire);
        message.shared(&segment);
        message.end();
        assert!(peer.receive(&wire) == plain.as_bytes(), "{level}");
        segment.bytes().len()
    };
    let lengths = [9, 0, 1, 6, 9].map(length);
    let [nine, zero, one, six, again] = lengths;
    assert_eq!(nine, again);
    assert!(zero > plain.len() && nine < one && six < one, "{lengths:?}");
}

#[test]
fn incompressible_data_is_stored() {
    for (format, more) in [(SegmentFormat::Deflate, 5), (SegmentFormat::Zstd, 3)] {
        let plain = br#"{"op":11}"#;
        let segment = format.segment(plain, Level::default());
        assert_eq!(segment.bytes().len(), plain.len() + more, "{format:?}");
        assert!(segment.bytes().ends_with(plain), "{format:?}");
        assert!(format.segment(b"", Level::default()).bytes().is_empty(), "{format:?}");
    }
}

#[test]
fn a_zlib_stream_has_the_bytes_of_its_rfc() {
    let mut stream = Stream::new(Method::ZlibStream);
    let mut wire = b"before".to_vec();
    stream.message(&mut wire).end();
    assert_eq!(wire, b"before\x78\x9c\x00\x00\x00\xff\xff");
    let mut message = stream.message(&mut wire);
    message.own(b"abc");
    message.own(b"");
    message.end();
    assert_eq!(wire[13..], *b"\x00\x03\x00\xfc\xffabc\x00\x00\x00\xff\xff");
    wire.clear();
    stream.message(&mut wire).end();
    assert_eq!(
        wire,
        [0, 0, 0, 0xff, 0xff],
        "a flush of its own, not that of the previous message"
    );

    let mut message = Stream::new(Method::ZlibPacket).message(&mut wire);
    message.own(b"abc");
    message.end();
    assert_eq!(
        wire[5..],
        *b"\x78\x9c\x00\x03\x00\xfc\xffabc\x01\x00\x00\xff\xff\x02\x4d\x01\x27"
    );
}

#[test]
fn own_bytes_that_end_like_a_sync_flush_count_as_one() {
    let mut stream = Stream::new(Method::ZlibStream);
    let mut peer = Peer::new(Method::ZlibStream);
    for own in [&b"\x00\x00\xff\xff"[..], b"etf \x00\x00\xff\xff", b"then others"] {
        let mut wire = Vec::new();
        let mut message = stream.message(&mut wire);
        message.own(own);
        message.end();
        assert_eq!(peer.receive(&wire), own);
    }
}

#[derive(Debug, Clone)]
enum Piece {
    Own(Vec<u8>),
    Shared(Vec<u8>),
}

fn any_message() -> impl Strategy<Value = Vec<Piece>> {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (prop::collection::vec(any::<u8>(), 1..20), 0_usize..60).prop_map(|(part, times)| part.repeat(times)),
            (prop::collection::vec(any::<u8>(), 1..300), 200_usize..900).prop_map(|(part, times)| part.repeat(times)),
            any::<u64>().prop_map(|number| event(number).1.into_bytes()),
        ]
    };
    let piece = prop_oneof![bytes().prop_map(Piece::Own), bytes().prop_map(Piece::Shared)];
    prop::collection::vec(piece, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_pieces_decode_to_their_bytes(messages in prop::collection::vec(any_message(), 1..10)) {
        for method in METHODS {
            let mut stream = Stream::new(method);
            let mut peer = Peer::new(method);
            for pieces in &messages {
                let mut wire = Vec::new();
                let mut expected = Vec::new();
                let mut message = stream.message(&mut wire);
                for piece in pieces {
                    match piece {
                        Piece::Own(plain) => {
                            message.own(plain);
                            expected.extend_from_slice(plain);
                        }
                        Piece::Shared(plain) => {
                            message.shared(&method.format().segment(plain, Level::default()));
                            expected.extend_from_slice(plain);
                        }
                    }
                }
                message.end();
                prop_assert!(peer.receive(&wire) == expected, "{method:?}");
            }
        }
    }
}
