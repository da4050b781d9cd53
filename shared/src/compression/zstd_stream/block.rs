//! Rewrites compressed blocks (RFC 8878, section 3.1.1.3) so that they depend on nothing before them.

use std::borrow::Cow;

use super::{
    repeats::RepeatOffsets,
    sequences::{self, Sequence, Sequences},
};

/// Returns the content of the first compressed block of a frame in a form that is valid anywhere in a stream.
///
/// Most blocks already have that form. A block that uses a repeat offset from before it is rewritten: its literals
/// stay, and its sequences spell out their offsets. Returns `None` if the block cannot be parsed, or depends on an
/// earlier block.
pub fn standalone(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (_, section) = sections(content)?;
    let mut repeats = RepeatOffsets::first();
    for sequence in Sequences::new(section)? {
        let sequence = sequence?;
        if !repeats.resolve(sequence.offset, sequence.has_literals())?.is_own {
            return anew(content).map(Cow::Owned);
        }
        if repeats.are_own() {
            break;
        }
    }
    Some(Cow::Borrowed(content))
}

/// Rewrites a block so that it uses no repeat offset from before it. Returns `None` if the block cannot be parsed or
/// rewritten.
pub fn anew(content: &[u8]) -> Option<Vec<u8>> {
    let (literals, section) = sections(content)?;
    let mut read = RepeatOffsets::first();
    let mut written = RepeatOffsets::first();
    let named_anew = |sequence: Option<Sequence>| {
        let sequence = sequence?;
        let has_literals = sequence.has_literals();
        let distance = read.resolve(sequence.offset, has_literals)?.distance;
        Some(sequence.with_offset(written.name(distance, has_literals)))
    };
    let sequences: Vec<_> = Sequences::new(section)?.map(named_anew).collect::<Option<_>>()?;
    let mut content = literals.to_vec();
    sequences::write(&sequences, &mut content)?;
    Some(content)
}

/// Splits a block into its literals section and its sequences section.
fn sections(content: &[u8]) -> Option<(&[u8], &[u8])> {
    content.split_at_checked(literals_len(content)?)
}

/// Returns the length of the literals section in bytes (RFC 8878, section 3.1.1.3.1.1). Returns `None` if it reuses the
/// Huffman table of an earlier block.
fn literals_len(content: &[u8]) -> Option<usize> {
    let mut head = [0; 8];
    let len = content.len().min(5);
    head[..len].copy_from_slice(&content[..len]);
    let head = usize::try_from(u64::from_le_bytes(head)).ok()?;
    let kind = head & 0b11;
    let size_format = (head >> 2) & 0b11;
    // The length of the header in bytes, then the number of bits of each size in it.
    let (head_len, bits) = match (kind, size_format) {
        (0 | 1, 0 | 2) => (1, 5),
        (0 | 1, 1) => (2, 12),
        (0 | 1, _) => (3, 20),
        (2, 0 | 1) => (3, 10),
        (2, 2) => (4, 14),
        (2, _) => (5, 18),
        _ => return None,
    };
    let mask = (1 << bits) - 1;
    let body_len = match kind {
        // Raw literals take a byte each, repeated ones a single byte. The shortest header has one bit for its format.
        0 if bits == 5 => (head >> 3) & mask,
        0 => (head >> 4) & mask,
        1 => 1,
        // The first size is that of the decompressed literals, the second that of the body.
        _ => (head >> (4 + bits)) & mask,
    };
    Some(head_len + body_len)
}
