//! The three latest offsets of a zstd stream, which a sequence may name by their place (RFC 8878, section 3.1.1.5).

/// What a frame begins with.
const FIRST: [u32; 3] = [1, 4, 8];
/// The values up to this one name a place; those above are an offset plus this.
const PLACES: u32 = 3;

/// How far back a sequence copies from, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) distance: u32,
    /// Whether a sequence of the block has said it; if not, it is one that was there before.
    pub(super) is_own: bool,
}

/// The offsets that can be repeated, the latest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct RepeatOffsets([Offset; 3]);

impl RepeatOffsets {
    /// Those at the beginning of a frame.
    pub(super) fn first() -> Self {
        Self(FIRST.map(|distance| Offset {
            distance,
            is_own: false,
        }))
    }

    /// Whether the block has said all of them, so that it cannot name one from before any more.
    pub(super) fn are_own(&self) -> bool {
        self.0.iter().all(|offset| offset.is_own)
    }

    /// What the value of a sequence names. None for an offset of 0, which nothing may say.
    pub(super) fn resolve(&mut self, value: u32, has_literals: bool) -> Option<Offset> {
        let named = match value.checked_sub(PLACES) {
            Some(distance @ 1..) => Offset { distance, is_own: true },
            _ => self.at(place(value, has_literals)?)?,
        };
        self.take(named, value, has_literals);
        Some(named)
    }

    /// The value that names this distance without any offset from before the block.
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

    /// The offset at a place; the one after the last is one less than the latest.
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

    /// Makes `named` the latest; one of the first three moves there, any other drives out the oldest.
    fn take(&mut self, named: Offset, value: u32, has_literals: bool) {
        let from = place(value, has_literals).unwrap_or(2).min(2);
        self.0.copy_within(..from, 1);
        self.0[0] = named;
    }
}

/// The place that a value names: from 0 on, and from 1 on in a sequence without literals, which could as well have gone
/// on with the latest offset.
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
    fn values_name_offsets_as_the_specification_says() {
        let mut repeats = RepeatOffsets::first();
        let cases = [
            // value, has literals: distance, what can be repeated then
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
        assert_eq!(repeats.resolve(3, false), None, "one less than 1");
        assert_eq!(repeats.resolve(0, true), None);
    }

    #[test]
    fn an_offset_is_own_when_the_block_has_said_it() {
        let mut repeats = RepeatOffsets::first();
        assert!(!repeats.resolve(1, true).unwrap().is_own);
        assert!(repeats.resolve(10, true).unwrap().is_own);
        assert!(!repeats.resolve(2, true).unwrap().is_own);
        assert!(repeats.resolve(2, true).unwrap().is_own);
        assert!(repeats.resolve(3, false).unwrap().is_own, "one less than an own one");
        assert!(!repeats.are_own());
        repeats.resolve(100, true);
        assert!(repeats.are_own());
    }

    #[test]
    fn an_offset_from_before_is_never_named_by_its_place() {
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
