//! A packet as one complete zlib stream (RFC 1950).

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::Level;

/// The least space that is reserved for the output, at first and whenever it grows, in bytes.
const ROOM: usize = 256;

// Each takes at most a quarter of a MiB and is reset before use: one per thread instead of one per packet. A process
// uses the same level for everything.
thread_local! {
    static COMPRESS: RefCell<Option<(Level, Compress)>> = const { RefCell::new(None) };
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

/// Why a packet cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// It is not exactly one complete zlib stream.
    #[error("not one complete zlib stream")]
    Malformed,
    /// It inflates to more than the limit.
    #[error("inflates to more than the limit")]
    TooBig,
}

/// Compresses `input` into one complete zlib stream.
pub fn deflate(input: &[u8], level: Level) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| {
        let compress = level.lend(compress, true);
        let mut output = Vec::with_capacity(input.len() / 2 + ROOM);
        let mut rest = input;
        loop {
            let before = compress.total_in();
            match compress.compress_vec(rest, &mut output, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return output.into(),
                Ok(Status::Ok | Status::BufError) => {
                    rest = after(rest, compress.total_in() - before);
                    output.reserve(ROOM + rest.len() / 2);
                }
                // zlib fails only for a stream that was not set up or that goes on after its end, and this one was just
                // reset.
                Err(error) => unreachable!("a fresh zlib stream refused its input: {error}"),
            }
        }
    })
}

/// Inflates exactly one complete zlib stream to at most `limit` bytes. Allocates at most one byte more than that.
///
/// # Errors
///
/// [`InflateError::TooBig`] as soon as the output exceeds the limit, [`InflateError::Malformed`] for a stream that is
/// broken, truncated, or followed by anything.
pub fn inflate(input: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut output = Vec::new();
    inflate_into(&mut output, input, limit).map(|()| output)
}

/// Like [`inflate`], but into `output`, which must be empty. After an error, `output` holds what was inflated until
/// then, so that the sender can be charged for a refused packet.
///
/// # Errors
///
/// Those of [`inflate`].
pub fn inflate_into(output: &mut Vec<u8>, input: &[u8], limit: usize) -> Result<(), InflateError> {
    // The byte beyond the limit distinguishes an output that ends at the limit from one that goes on.
    let most = limit.saturating_add(1);
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(true);
        output.reserve_exact(input.len().saturating_mul(4).max(ROOM).min(most));
        let mut rest = input;
        loop {
            let before = decompress.total_in();
            let status = decompress
                .decompress_vec(rest, output, FlushDecompress::None)
                .map_err(|_| InflateError::Malformed)?;
            rest = after(rest, decompress.total_in() - before);
            if output.len() > limit {
                return Err(InflateError::TooBig);
            }
            if status == Status::StreamEnd {
                return if rest.is_empty() {
                    Ok(())
                } else {
                    Err(InflateError::Malformed)
                };
            }
            if output.len() < output.capacity() {
                // There was space left, so the input has run out.
                return Err(InflateError::Malformed);
            }
            output.reserve_exact(output.len().max(ROOM).min(most - output.len()));
        }
    })
}

/// Returns `input` without its first `count` bytes.
fn after(input: &[u8], count: u64) -> &[u8] {
    usize::try_from(count)
        .ok()
        .and_then(|count| input.get(count..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 65_536;

    fn deflate(input: &[u8]) -> Bytes {
        super::deflate(input, Level::default())
    }

    fn bomb(bytes: usize) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b'a'; bytes]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packet_is_one_zlib_stream_of_the_default_level() {
        let stream = deflate(br#"{"op":11}"#);
        assert_eq!(stream[..2], [0x78, 0x9c]);
        let mut text = String::new();
        ZlibDecoder::new(&*stream).read_to_string(&mut text).unwrap();
        assert_eq!(text, r#"{"op":11}"#);
    }

    #[test]
    fn a_packet_has_the_requested_level() {
        let input = bomb(1 << 20).repeat(20);
        let lengths = [9, 0, 6, 1, 9].map(|level| {
            let stream = super::deflate(&input, Level::new(level));
            assert_eq!(inflate(&stream, input.len()).as_ref(), Ok(&input), "{level}");
            stream.len()
        });
        let [nine, zero, six, one, again] = lengths;
        assert_eq!(nine, again);
        assert!(zero > input.len() && nine <= six && six < one, "{lengths:?}");
    }

    #[test]
    fn an_empty_packet_survives_the_round_trip() {
        assert_eq!(inflate(&deflate(b""), 0), Ok(Vec::new()));
    }

    #[test]
    fn the_limit_is_exact() {
        let stream = bomb(1000);
        assert_eq!(inflate(&stream, 1000), Ok(vec![b'a'; 1000]));
        assert_eq!(inflate(&stream, 999), Err(InflateError::TooBig));
        assert_eq!(inflate(&stream, 0), Err(InflateError::TooBig));
        assert_eq!(inflate(&stream, usize::MAX), Ok(vec![b'a'; 1000]));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = bomb(64 << 20);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&bomb, LIMIT), Err(InflateError::TooBig));
        // A truncated bomb is refused for its size as well, so the bomb was not read to its end.
        assert_eq!(inflate(&bomb[..bomb.len() / 2], LIMIT), Err(InflateError::TooBig));
    }

    #[test]
    fn at_most_one_byte_beyond_the_limit_is_allocated() {
        for size in [0, 1, 255, 256, 257, 5000, LIMIT] {
            let output = inflate(&bomb(size), LIMIT).unwrap();
            assert_eq!(output.len(), size);
            assert!(output.capacity() <= LIMIT + 1, "{}", output.capacity());
        }
    }

    #[test]
    fn truncated_repeated_and_broken_streams_are_malformed() {
        let stream = deflate(b"some text, some text, some text");
        for end in 0..stream.len() {
            assert_eq!(
                inflate(&stream[..end], LIMIT),
                Err(InflateError::Malformed),
                "cut at {end}"
            );
        }
        let twice = [&stream[..], &stream[..]].concat();
        assert_eq!(inflate(&twice, LIMIT), Err(InflateError::Malformed));
        let mut broken = stream.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(inflate(&broken, LIMIT), Err(InflateError::Malformed));
        assert!(
            inflate(&stream, LIMIT).is_ok(),
            "the decompressor works again after each error"
        );
    }

    #[test]
    fn a_broken_stream_leaves_what_was_inflated() {
        let mut stream = bomb(60_000);
        *stream.last_mut().unwrap() ^= 1;
        let mut output = Vec::new();
        assert_eq!(inflate_into(&mut output, &stream, LIMIT), Err(InflateError::Malformed));
        assert_eq!(output.len(), 60_000);
    }

    #[test]
    fn other_formats_are_malformed() {
        let with_dictionary = [0x78, 0xbb, 0, 0, 0, 1, 3, 0];
        let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0];
        for stream in [&with_dictionary[..], &gzip, b"{\"op\":10}", b"", &[0x78]] {
            assert_eq!(inflate(stream, LIMIT), Err(InflateError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn a_packet_survives_the_round_trip(input in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let stream = deflate(&input);
            prop_assert_eq!(inflate(&stream, input.len()), Ok(input));
        }

        #[test]
        fn a_repetitive_packet_survives_the_round_trip(
            part in prop::collection::vec(any::<u8>(), 1..20),
            times in 0_usize..5000,
        ) {
            let input = part.repeat(times);
            prop_assert_eq!(inflate(&deflate(&input), input.len()), Ok(input));
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(
            mut garbage in prop::collection::vec(any::<u8>(), 0..500),
            limit in 0_usize..1000,
        ) {
            let _ = inflate(&garbage, limit);
            // With a valid header the decoder gets further.
            garbage.splice(0..0, [0x78, 0x9c]);
            if let Ok(output) = inflate(&garbage, limit) {
                prop_assert!(output.len() <= limit);
            }
        }
    }
}
