//! Frames that leave together, made once for everybody who gets them.

use std::iter;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Frames side by side in one run of bytes: a socket that has room takes them all in one write.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    /// Where each frame ends.
    ends: SmallVec<[usize; 2]>,
}

impl Batch {
    /// These frames in their order. One alone is shared; several are copied side by side.
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

    /// Frames that stand side by side already, each ending where `ends` says.
    pub(super) fn new(bytes: Bytes, ends: &[usize]) -> Self {
        Self {
            bytes,
            ends: ends.into(),
        }
    }

    /// What a socket is to take.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frames that are left when so many bytes are written, and how much of the first one is.
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
    fn what_is_left_begins_with_the_frame_that_was_begun() {
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
    fn one_frame_is_not_copied() {
        let frame = Bytes::from_static(b"frame");
        assert_eq!(Batch::of(std::slice::from_ref(&frame)).bytes().as_ptr(), frame.as_ptr());
    }
}
