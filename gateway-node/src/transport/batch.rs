//! Frames that are written together, encoded once for all their receivers.

use std::iter;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Frames in one contiguous buffer, so that a writable socket accepts all of them in one write.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    /// The index at which each frame ends.
    ends: SmallVec<[usize; 2]>,
}

impl Batch {
    /// Joins `frames` in their order. A single frame is shared, several are copied into one buffer.
    pub fn of(frames: &[Bytes]) -> Self {
        if let [frame] = frames {
            return frame.clone().into();
        }
        let mut bytes = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
        let mut ends = SmallVec::with_capacity(frames.len());
        for frame in frames {
            bytes.extend_from_slice(frame);
            ends.push(bytes.len());
        }
        Self {
            bytes: bytes.freeze(),
            ends,
        }
    }

    /// A batch of frames that are already contiguous. `ends` has the index at which each one ends.
    pub(super) fn new(bytes: Bytes, ends: &[usize]) -> Self {
        Self {
            bytes,
            ends: ends.into(),
        }
    }

    /// The number of frames.
    pub(super) fn frames(&self) -> usize {
        self.ends.len()
    }

    /// Returns the frame, if there is only one.
    pub(super) fn only_frame(&self) -> Option<Bytes> {
        (self.ends.len() == 1).then(|| self.bytes.clone())
    }

    /// The index at which each frame ends.
    pub(super) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// All frames as one slice.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the frames that are not completely within the first `written` bytes, and how many bytes of the first of
    /// them are.
    pub(super) fn rest(&self, written: usize) -> (usize, impl Iterator<Item = Bytes>) {
        let done = self.ends.iter().take_while(|end| **end <= written).count();
        let mut start = done.checked_sub(1).map_or(0, |last| self.ends[last]);
        let started = written - start;
        let frames = self.ends[done..].iter().map(move |&end| {
            let frame = self.bytes.slice(start..end);
            start = end;
            frame
        });
        (started, frames)
    }
}

impl From<Bytes> for Batch {
    fn from(frame: Bytes) -> Self {
        Self {
            ends: iter::once(frame.len()).collect(),
            bytes: frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_begins_with_the_partially_written_frame() {
        let batch = Batch::of(&["abc", "de", "f"].map(|frame| Bytes::from_static(frame.as_bytes())));
        assert_eq!(batch.bytes(), b"abcdef");
        let rest = |written| {
            let (started, frames) = batch.rest(written);
            (started, frames.collect::<Vec<_>>())
        };
        assert_eq!(rest(0), (0, vec!["abc".into(), "de".into(), "f".into()]));
        assert_eq!(rest(2), (2, vec!["abc".into(), "de".into(), "f".into()]));
        assert_eq!(rest(3), (0, vec!["de".into(), "f".into()]));
        assert_eq!(rest(4), (1, vec!["de".into(), "f".into()]));
        assert_eq!(rest(6), (0, vec![]));
    }

    #[test]
    fn a_single_frame_is_not_copied() {
        let frame = Bytes::from_static(b"frame");
        assert_eq!(Batch::of(std::slice::from_ref(&frame)).bytes().as_ptr(), frame.as_ptr());
    }
}
