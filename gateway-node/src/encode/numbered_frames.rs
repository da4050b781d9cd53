//! The frames of several uncompressed dispatches, side by side. Between sessions, only the sequence numbers in them
//! differ, so they are encoded once and a delivery overwrites the numbers.

use bytes::Bytes;
use shared::discord::{Dispatch, Encoding};
use smallvec::SmallVec;

use crate::transport::message_head;

/// The frames of consecutive dispatches whose sequence numbers all have the same encoded length.
#[derive(Debug)]
pub(crate) struct NumberedFrames {
    encoding: Encoding,
    /// The encoded length of each sequence number.
    width: usize,
    bytes: Vec<u8>,
    /// The index of each sequence number in `bytes`.
    numbers: SmallVec<[usize; 8]>,
    /// The index at which each frame ends.
    ends: SmallVec<[usize; 8]>,
}

impl NumberedFrames {
    /// Frames dispatches with room for sequence numbers of `width` bytes. `dispatches` has what comes before and after
    /// each number.
    pub(crate) fn new<'a>(
        encoding: Encoding,
        width: usize,
        dispatches: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
    ) -> Self {
        let (mut bytes, mut numbers, mut ends) = (Vec::new(), SmallVec::new(), SmallVec::new());
        for (before, after) in dispatches {
            let length = before.len() + width + after.len();
            message_head(encoding == Encoding::Json, length, &mut bytes);
            bytes.extend_from_slice(before);
            numbers.push(bytes.len());
            bytes.resize(bytes.len() + width, 0);
            bytes.extend_from_slice(after);
            ends.push(bytes.len());
        }
        Self {
            encoding,
            width,
            bytes,
            numbers,
            ends,
        }
    }

    /// Returns the width of the sequence numbers from `first` on, one for each of `count` dispatches, or `None` if they
    /// do not all have the same.
    pub(crate) fn width(encoding: Encoding, first: u64, count: usize) -> Option<usize> {
        let last = first + (count as u64).saturating_sub(1);
        let width = Dispatch::number_length(encoding, first);
        // No number is shorter than a smaller one.
        (width == Dispatch::number_length(encoding, last)).then_some(width)
    }

    /// Numbers the dispatches from `first` on. All numbers must have the [`width`](Self::width) of the frames.
    pub(crate) fn number_from(&mut self, first: u64) {
        for (s, &start) in (first..).zip(&self.numbers) {
            Dispatch::write_number(self.encoding, s, &mut self.bytes[start..start + self.width]);
        }
    }

    /// Whether they have room for sequence numbers of `width` bytes.
    pub(crate) fn is_for(&self, width: usize) -> bool {
        self.width == width
    }

    /// Returns all frames, one after the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the index at which each frame ends.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::compression::Level;

    use super::*;
    use crate::encode::{DispatchEncoder, encoded_dispatch::EncodedDispatch};

    proptest! {
        #[test]
        fn frames_are_those_of_an_encoder(
            is_etf: bool,
            starts in proptest::collection::vec(0_u32..64, 1..4),
            lengths in proptest::collection::vec(0_usize..300, 1..9),
        ) {
            let encoding = if is_etf { Encoding::Etf } else { Encoding::Json };
            let encoder = DispatchEncoder::new(encoding, None, Level::default());
            let data = lengths.iter().map(|length| format!("{{\"text\":\"{}\"}}", "x".repeat(*length)));
            let dispatches: Vec<_> =
                data.filter_map(|d| EncodedDispatch::new(encoder.wire_format(), "X", &d)).collect();
            prop_assert_eq!(dispatches.len(), lengths.len());
            let plain = || dispatches.iter().filter_map(EncodedDispatch::plain);
            for start in starts {
                // Numbers of every length, and close to where the length changes.
                let first = (1_u64 << (start / 2)) + u64::from(start % 2) * 97;
                let (mut expected, mut ends) = (Vec::new(), Vec::new());
                encoder.continue_at(first - 1, None);
                for dispatch in &dispatches {
                    encoder.write(dispatch, &mut expected);
                    ends.push(expected.len());
                }
                let lengths = (first..).take(dispatches.len()).map(|s| Dispatch::number(encoding, s).len());
                let is_uniform = lengths.collect::<std::collections::BTreeSet<_>>().len() == 1;
                let width = NumberedFrames::width(encoding, first, dispatches.len());
                prop_assert_eq!(width.is_some(), is_uniform);
                let Some(width) = width else { continue };
                let mut frames = NumberedFrames::new(encoding, width, plain());
                frames.number_from(first);
                prop_assert!(frames.is_for(width));
                prop_assert_eq!(frames.bytes(), &*expected);
                prop_assert_eq!(frames.ends(), &*ends);
            }
        }
    }
}
