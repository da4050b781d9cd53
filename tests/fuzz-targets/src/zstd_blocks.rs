//! Blocks of zstd that are rewritten so that they can stand anywhere, and streams made of segments.

use std::{cell::RefCell, sync::LazyLock};

use flate2::{Decompress, FlushDecompress};
use shared::compression::{History, Level, Method, SegmentFormat, Stream, inflate, zstd_block};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound};

/// The header of a stream: no dictionary, no checksum, no size, a window of 64 KiB.
const HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x30];
/// The window, and with it the most content of a block, in bytes.
const WINDOW: usize = 1 << 16;
/// A text that leaves repeat offsets behind that differ from those at the beginning of a frame.
const UNSETTLING: &[u8] = b"one two three, one two four three, one two three; four three four, two three two three";

/// The block that [`UNSETTLING`] compresses to.
static BEFORE: LazyLock<Vec<u8>> = LazyLock::new(|| block_of(UNSETTLING, 3).expect("a compressed block"));

// A context takes hundreds of KiB, so each thread has one instead of each input.
thread_local! {
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new({
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(16)).expect("a window");
        context
    });
}

/// Tests a block, a text to make a block of, or the messages of a stream, as the first byte decides.
pub fn zstd_blocks(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    match mode % 4 {
        0 => block(rest),
        1 => {
            let level = 1 + i32::from(mode / 4 % 19);
            let plain = &rest[..rest.len().min(WINDOW)];
            if let Some(content) = block_of(plain, level) {
                assert_eq!(decode(&[&content]).as_deref(), Some(plain), "a block that zstd made");
                assert!(
                    zstd_block::standalone(&content).is_some(),
                    "a block that zstd made was refused"
                );
                block(&content);
            }
        }
        _ => stream(rest, Level::new(u32::from(mode / 4 % 10))),
    }
}

/// Rewrites a block. If it can be decoded as the first of a frame, the rewritten block must decode to the same text
/// there and behind another block.
fn block(content: &[u8]) {
    let standalone = zstd_block::standalone(content);
    let anew = zstd_block::anew(content);
    if content.len() > WINDOW {
        return;
    }
    let Some(plain) = decode(&[content]) else { return };
    for rewritten in [standalone.as_deref(), anew.as_deref()].into_iter().flatten() {
        assert_eq!(decode(&[rewritten]).as_ref(), Some(&plain), "as the first block");
        let both = [UNSETTLING, &plain].concat();
        assert_eq!(decode(&[&BEFORE, rewritten]), Some(both), "behind another block");
    }
}

/// Builds the messages of a connection from shared segments and from bytes of its own, for each kind of stream.
fn stream(data: &[u8], level: Level) {
    let messages: Vec<Vec<&[u8]>> = data.split(|byte| *byte == 0xff).map(parts).collect();
    for method in [Method::ZlibPacket, Method::ZlibStream, Method::ZstdStream] {
        let mut stream = Stream::new(method);
        let mut wire = Vec::new();
        let mut ends = Vec::new();
        for parts in &messages {
            let mut message = stream.message(&mut wire);
            for (place, part) in parts.iter().enumerate() {
                if place % 2 == 0 {
                    message.shared(&method.format().segment(part, level));
                } else {
                    message.own(part);
                }
            }
            message.end();
            ends.push(wire.len());
        }
        let plains: Vec<_> = messages.iter().map(|parts| parts.concat()).collect();
        match method {
            Method::ZlibPacket => {
                let starts = [0].iter().chain(&ends);
                for ((start, end), plain) in starts.zip(&ends).zip(&plains) {
                    assert_eq!(inflate(&wire[*start..*end], plain.len()).as_ref(), Ok(plain));
                }
            }
            Method::ZlibStream => {
                let mut client = ZlibClient::new();
                client.take(&wire, &ends, &plains);
                // The session may continue with a compressor of its own.
                let mut history = History::new(level);
                for (parts, plain) in messages.iter().zip(&plains) {
                    let mut wire = Vec::new();
                    history.message(parts.iter().copied(), &mut wire);
                    client.take(&wire, &[wire.len()], std::slice::from_ref(plain));
                }
            }
            Method::ZstdStream => with_zstd_client(|client| {
                let mut start = 0;
                for (end, plain) in ends.iter().zip(&plains) {
                    let message = take(client, &wire[start..*end]).expect("a stream");
                    assert!(message == *plain, "different text");
                    start = *end;
                }
            }),
        }
    }
    let segment = SegmentFormat::Zstd.segment(data, level);
    assert_eq!(segment.plain_len(), data.len());
    assert!(segment.bytes().len() <= data.len() + 3 * data.len().div_ceil(WINDOW));
}

/// Splits a message into parts at each byte 0xfe.
fn parts(message: &[u8]) -> Vec<&[u8]> {
    message.split(|byte| *byte == 0xfe).collect()
}

/// A client with a zlib stream.
struct ZlibClient(Decompress);

impl ZlibClient {
    fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Takes messages that end at these offsets, and asserts that each can be read as soon as it has arrived.
    fn take(&mut self, wire: &[u8], ends: &[usize], plains: &[Vec<u8>]) {
        let mut start = 0;
        for (end, plain) in ends.iter().zip(plains) {
            let message = &wire[start..*end];
            assert!(
                message.ends_with(&[0, 0, 0xff, 0xff]),
                "the message does not end with a flush"
            );
            let mut inflated = Vec::new();
            let before = self.0.total_in();
            loop {
                inflated.reserve(1000);
                let read = usize::try_from(self.0.total_in() - before).expect("a part of the message");
                let status = self
                    .0
                    .decompress_vec(&message[read..], &mut inflated, FlushDecompress::Sync);
                status.expect("a stream");
                if inflated.len() < inflated.capacity() {
                    break;
                }
            }
            assert!(inflated == *plain, "different text");
            start = *end;
        }
    }
}

/// Passes a client at the beginning of its zstd stream to `act`.
fn with_zstd_client<T>(act: impl FnOnce(&mut DCtx<'_>) -> T) -> T {
    DECOMPRESS.with_borrow_mut(|client| {
        client.reset(ResetDirective::SessionOnly).expect("a stream");
        act(client)
    })
}

/// Returns what the client decodes from these bytes, or `None` if they are not a valid stream.
fn take(client: &mut DCtx<'_>, wire: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    if wire.is_empty() {
        // zstd returns an error when it is called without input again and again.
        return Some(plain);
    }
    let mut input = InBuffer::around(wire);
    let mut room = [0; 4096];
    loop {
        let mut output = OutBuffer::around(&mut room[..]);
        client.decompress_stream(&mut output, &mut input).ok()?;
        plain.extend_from_slice(output.as_slice());
        if input.pos == wire.len() && output.pos() < output.capacity() {
            return Some(plain);
        }
    }
}

/// Decodes compressed blocks with these contents, one after another, and the end of the frame.
fn decode(contents: &[&[u8]]) -> Option<Vec<u8>> {
    let mut wire = HEADER.to_vec();
    for content in contents {
        let len = u32::try_from(content.len()).expect("a block");
        wire.extend_from_slice(&(len << 3 | 2 << 1).to_le_bytes()[..3]);
        wire.extend_from_slice(content);
    }
    // An empty last block shows whether the frame is complete.
    wire.extend_from_slice(&[1, 0, 0]);
    with_zstd_client(|client| take(client, &wire))
}

/// Returns the content of the one compressed block that zstd makes of a text of at most a window, if it makes one.
fn block_of(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(compress_bound(plain.len()));
    COMPRESS.with_borrow_mut(|context| {
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(16),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
        ] {
            context.set_parameter(parameter).expect("a parameter");
        }
        context.compress2(&mut frame, plain).expect("a frame");
    });
    let (head, content) = frame[HEADER.len()..].split_at_checked(3)?;
    let expected = u32::try_from(content.len()).ok()? << 3 | 2 << 1 | 1;
    (*head == expected.to_le_bytes()[..3]).then(|| content.to_vec())
}
