//! A compressed block (RFC 8878, section 3.1.1.3) made to depend on nothing before it.

use std::borrow::Cow;

use super::{
    repeats::RepeatOffsets,
    sequences::{self, Sequence, Sequences},
};

/// The content of the first compressed block of a frame in a form that holds anywhere.
///
/// Most blocks do already. One that copies from an offset that was there before it is written anew: the literals stay
/// what they are, and the sequences say their offsets. None if the block cannot be read, or needs an earlier one.
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

/// The same block, without any offset that was there before it.
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

/// The section of the literals and that of the sequences.
fn sections(content: &[u8]) -> Option<(&[u8], &[u8])> {
    content.split_at_checked(literals_len(content)?)
}

/// How many bytes the literals section takes (RFC 8878, section 3.1.1.3.1.1). None if it goes on with the Huffman table of
/// an earlier block.
fn literals_len(content: &[u8]) -> Option<usize> {
    let mut head = [0; 8];
    let len = content.len().min(5);
    head[..len].copy_from_slice(&content[..len]);
    let head = usize::try_from(u64::from_le_bytes(head)).ok()?;
    let kind = head & 0b11;
    let size_format = (head >> 2) & 0b11;
    // The length of the head, then the bits of each of its sizes.
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
        // As many as there are literals, or one that is all of them. The short head has one bit for its format.
        0 if bits == 5 => (head >> 3) & mask,
        0 => (head >> 4) & mask,
        1 => 1,
        // The first size is that of the literals.
        _ => (head >> (4 + bits)) & mask,
    };
    Some(head_len + body_len)
}
