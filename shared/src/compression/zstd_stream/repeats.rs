//! The three repeat offsets of a zstd stream, which a sequence can name by position (RFC 8878, section 3.1.1.5).

/// The repeat offsets at the beginning of a frame.
const FIRST: [u32; 3] = [1, 4, 8];
/// Offset values up to this one name a position. Higher values are an offset plus this.
const PLACES: u32 = 3;

/// The distance from which a sequence copies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) distance: u32,
    /// Whether a sequence of the block has introduced this offset. If not, it is from before the block.
    pub(super) is_own: bool,
}

/// The repeat offsets, latest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct RepeatOffsets([Offset; 3]);

impl RepeatOffsets {
    /// Returns the repeat offsets at the beginning of a frame.
    pub(super) fn first() -> Self {
        Self(FIRST.map(|distance| Offset {
            distance,
            is_own: false,
        }))
    }

    /// Returns whether all offsets are the block's own, so that it can no longer name one from before it.
    pub(super) fn are_own(&self) -> bool {
        self.0.iter().all(|offset| offset.is_own)
    }

    /// Resolves the offset value of a sequence and updates the repeat offsets. Returns `None` for an offset of 0, which
    /// is invalid.
    pub(super) fn resolve(&mut self, value: u32, has_literals: bool) -> Option<Offset> {
        let named = match value.checked_sub(PLACES) {
            Some(distance @ 1..) => Offset { distance, is_own: true },
            _ => self.at(place(value, has_literals)?)?,
        };
        self.take(named, value, has_literals);
        Some(named)
    }

    /// Returns the value that encodes this distance without a repeat offset from before the block, and updates the
    /// repeat offsets.
    pub(super) fn name(&mut self, distance: u32, has_literals: bool) -> u32 {
        let is_named_by = |value: &u32| {
            let named = place(*value, has_literals).and_then(|place| self.at(place));
            named.is_some_and(|named| named.is_own && named.distance == distance)
        };
        let value = (1..=PLACES).find(is_named_by).unwrap_or(distance + PLACES);
        let named = Offset { distance, is_own: true };
        self.take(named, value, has_literals);
        value
    }

    /// Returns the offset at a position. The position after the last is the latest offset minus 1.
    fn at(&self, place: usize) -> Option<Offset> {
        let [latest, ..] = self.0;
        match self.0.get(place) {
            Some(offset) => Some(*offset),
            None => Some(Offset {
                distance: latest.distance.checked_sub(1).filter(|distance| *distance > 0)?,
                is_own: latest.is_own,
            }),
        }
    }

    /// Makes `named` the latest offset. If it was one of the three, it moves to the front, otherwise the oldest is
    /// dropped.
    fn take(&mut self, named: Offset, value: u32, has_literals: bool) {
        let from = place(value, has_literals).unwrap_or(2).min(2);
        self.0.copy_within(..from, 1);
        self.0[0] = named;
    }
}

/// Returns the position that a value names. Positions begin at 0, but at 1 in a sequence without literals: with the
/// latest offset, it would only continue the previous copy.
fn place(value: u32, has_literals: bool) -> Option<usize> {
    let named = (1..=PLACES).contains(&value).then(|| value - u32::from(has_literals));
    named.and_then(|place| usize::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(repeats: &RepeatOffsets) -> [u32; 3] {
        repeats.0.map(|offset| offset.distance)
    }

    #[test]
    fn values_resolve_to_offsets_as_specified() {
        let mut repeats = RepeatOffsets::first();
        let cases = [
            // value, has literals: distance, repeat offsets afterwards
            (1114, true, 1111, [1111, 1, 4]),
            (1, true, 1111, [1111, 1, 4]),
            (2225, true, 2222, [2222, 1111, 1]),
            (1114, true, 1111, [1111, 2222, 1111]),
            (3336, true, 3333, [3333, 1111, 2222]),
            (2, true, 1111, [1111, 3333, 2222]),
            (3, true, 2222, [2222, 1111, 3333]),
            (1, false, 1111, [1111, 2222, 3333]),
            (2, false, 3333, [3333, 1111, 2222]),
            (3, false, 3332, [3332, 3333, 1111]),
            (4, true, 1, [1, 3332, 3333]),
        ];
        for (value, has_literals, distance, left) in cases {
            assert_eq!(
                repeats.resolve(value, has_literals).unwrap().distance,
                distance,
                "{value}"
            );
            assert_eq!(distances(&repeats), left, "{value}");
        }
        assert_eq!(repeats.resolve(3, false), None, "1 minus 1 is no offset");
        assert_eq!(repeats.resolve(0, true), None);
    }

    #[test]
    fn an_offset_is_own_once_the_block_has_introduced_it() {
        let mut repeats = RepeatOffsets::first();
        assert!(!repeats.resolve(1, true).unwrap().is_own);
        assert!(repeats.resolve(10, true).unwrap().is_own);
        assert!(!repeats.resolve(2, true).unwrap().is_own);
        assert!(repeats.resolve(2, true).unwrap().is_own);
        assert!(repeats.resolve(3, false).unwrap().is_own, "an own offset minus 1");
        assert!(!repeats.are_own());
        repeats.resolve(100, true);
        assert!(repeats.are_own());
    }

    #[test]
    fn offsets_from_before_the_block_are_never_named_by_position() {
        let mut repeats = RepeatOffsets::first();
        assert_eq!(repeats.name(1, true), 4);
        assert_eq!(repeats.name(1, true), 1);
        assert_eq!(repeats.name(8, false), 11);
        assert_eq!(repeats.name(4, true), 7);
        assert_eq!(repeats.name(8, true), 2);
        assert_eq!(repeats.name(7, false), 3);
        assert_eq!(distances(&repeats), [7, 8, 4]);
    }
}
