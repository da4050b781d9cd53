use proptest::prelude::*;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{
    compressor::{COMPRESSED, Compress, LEVEL, segment},
    *,
};

/// Decodes a stream that has not ended, with a window of at most 2^`window_log` bytes.
fn decoded_within(window_log: u32, blocks: &[u8]) -> Result<Vec<u8>, usize> {
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(window_log)).unwrap();
    let stream = [&HEADER, blocks].concat();
    let mut input = InBuffer::around(&stream);
    let mut plain = Vec::new();
    let mut room = [0; 1000];
    loop {
        let mut output = OutBuffer::around(&mut room[..]);
        context.decompress_stream(&mut output, &mut input)?;
        plain.extend_from_slice(output.as_slice());
        if input.pos == stream.len() && output.pos() < output.capacity() {
            return Ok(plain);
        }
    }
}

fn decoded(blocks: &[u8]) -> Vec<u8> {
    decoded_within(WINDOW_LOG.into(), blocks).unwrap()
}

/// The content of the one block to which zstd compresses `plain`.
fn content(level: i32, plain: &[u8]) -> Option<Vec<u8>> {
    Compress::new(level).only_block(plain).map(<[u8]>::to_vec)
}

fn spliced(contents: &[&[u8]]) -> Vec<u8> {
    let mut blocks = Vec::new();
    for content in contents {
        append(COMPRESSED, content, &mut blocks);
    }
    blocks
}

/// Text after which the repeat offsets differ from those at the beginning of a frame.
const UNSETTLING: &[u8] = b"one two three, one two four three, one two three; four three four, two three two three";

#[test]
fn the_window_is_64_kib() {
    assert_eq!(HEADER, [0x28, 0xb5, 0x2f, 0xfd, 0, 0x30]);
    let text = b"some text, some text, some text".repeat(10_000);
    let blocks = segment(&text);
    assert_eq!(decoded_within(16, &blocks), Ok(text));
    assert!(decoded_within(15, &blocks).is_err());
}

#[test]
fn empty_data_has_no_blocks() {
    assert!(segment(b"").is_empty());
    assert_eq!(decoded(b""), b"");
}

#[test]
fn incompressible_data_becomes_raw_blocks() {
    let short = br#"{"op":11}"#;
    let blocks = segment(short);
    assert_eq!(blocks[..], [&[0x48, 0, 0][..], short].concat());
    assert_eq!(decoded(&blocks), short);
    let noise: Vec<u8> = (0..200_000_u64)
        .map(|i| (i.wrapping_mul(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_le_bytes()[0])
        .collect();
    let blocks = segment(&noise);
    assert!(blocks.len() <= noise.len() + 4 * BLOCK_HEAD);
    assert_eq!(decoded(&blocks), noise);
}

#[test]
fn raw_bytes_are_split_at_the_window() {
    for len in [0, 1, MOST_PLAIN - 1, MOST_PLAIN, MOST_PLAIN + 1, 3 * MOST_PLAIN] {
        let plain = vec![7; len];
        let mut blocks = Vec::new();
        raw(&plain, &mut blocks);
        assert_eq!(blocks.len(), len + len.div_ceil(MOST_PLAIN) * BLOCK_HEAD);
        assert_eq!(decoded(&blocks), plain, "{len}");
    }
}

#[test]
fn blocks_that_use_the_initial_offsets_are_rewritten() {
    let before = content(LEVEL, UNSETTLING).unwrap();
    let mut found = 0;
    for (level, plain) in [
        // A run copies from a distance of 1; `1212…` would copy from 2, which is not an initial offset.
        (3, format!(r#"{{"content":"{}"}}"#, "-".repeat(100))),
        (19, format!(r#"{{"content":"{}"}}"#, "abcd".repeat(30))),
        (19, format!(r#"{{"content":"{}"}}"#, "abcdefgh".repeat(30))),
    ] {
        let after = content(level, plain.as_bytes()).unwrap();
        let expected = [UNSETTLING, plain.as_bytes()].concat();
        if let Some(std::borrow::Cow::Owned(anew)) = block::standalone(&after) {
            found += 1;
            assert_ne!(
                decoded_within(16, &spliced(&[&before, &after])).as_ref(),
                Ok(&expected),
                "{plain}"
            );
            assert_eq!(decoded(&spliced(&[&before, &anew])), expected, "{plain}");
            assert!(anew.len() <= after.len() + 4, "{} and {}", anew.len(), after.len());
        }
    }
    assert!(found > 0);
}

#[test]
fn malformed_blocks_are_refused() {
    for content in [
        &b""[..],
        b"\x00",
        b"\x00\x01",
        b"\x03\x00\x00\x00",
        b"\xff\xff\xff\xff\xff",
        b"\x02\x00\x00",
    ] {
        assert_eq!(block::standalone(content), None, "{content:?}");
    }
}

fn any_plain() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[a-z]{1,12}".prop_map(String::into_bytes),
        "\"(id|nonce|guild_id|channel_id)\":\"[0-9]{17,19}\",".prop_map(String::into_bytes),
        (any::<u8>(), 3_usize..60).prop_map(|(byte, times)| vec![byte; times]),
        (prop::collection::vec(any::<u8>(), 1..10), 2_usize..12).prop_map(|(part, times)| part.repeat(times)),
        Just(b"\x62\x00\x00\x00\x00\x6d\x00\x00\x00\x01".to_vec()),
    ];
    (prop::collection::vec(part, 0..60), 1_usize..3).prop_map(|(parts, times)| parts.concat().repeat(times))
}

proptest! {
    #[test]
    fn standalone_blocks_decode_after_other_blocks_at_every_level(plain in any_plain(), level in 1..=19) {
        let before = content(LEVEL, UNSETTLING).unwrap();
        if let Some(after) = content(level, &plain) {
            let after = block::standalone(&after).unwrap();
            prop_assert_eq!(decoded(&spliced(&[&before, &after])), [UNSETTLING, &plain].concat());
        }
    }

    #[test]
    fn rewritten_blocks_decode_to_the_same_bytes(plain in any_plain(), level in 1..=19) {
        if let Some(content) = content(level, &plain)
            && let Some(anew) = block::anew(&content)
        {
            prop_assert_eq!(decoded(&spliced(&[&anew])), plain);
        }
    }

    #[test]
    fn segments_decode_in_any_order(plains in prop::collection::vec(any_plain(), 0..12)) {
        let mut blocks = Vec::new();
        for (number, plain) in plains.iter().enumerate() {
            if number % 3 == 2 {
                raw(plain, &mut blocks);
            } else {
                blocks.extend_from_slice(&segment(plain));
            }
        }
        prop_assert_eq!(decoded(&blocks), plains.concat());
    }

    #[test]
    fn a_segment_of_many_blocks_decodes_to_its_bytes(part in any_plain(), times in 1_usize..400) {
        let plain = part.repeat(times);
        prop_assert_eq!(decoded(&segment(&plain)), plain);
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = block::standalone(&garbage);
    }
}
