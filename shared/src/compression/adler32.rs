//! Adler-32, the checksum of a zlib stream (RFC 1950, section 8). The checksum of joined parts can be computed from
//! those of the parts.

use zlib_rs::adler32::{adler32, adler32_combine};

/// The Adler-32 of some bytes, with what is needed to join it to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Adler32 {
    sum: u32,
    /// The number of bytes.
    len: u64,
}

impl Adler32 {
    /// The checksum of no bytes.
    pub(super) const EMPTY: Self = Self { sum: 1, len: 0 };

    /// Computes the checksum of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            sum: adler32(1, bytes),
            len: bytes.len() as u64,
        }
    }

    /// Returns the checksum of these bytes followed by those of `next`.
    pub(super) fn followed_by(self, next: Self) -> Self {
        Self {
            sum: adler32_combine(self.sum, next.sum, next.len),
            len: self.len + next.len,
        }
    }

    /// Returns the four bytes that end a zlib stream.
    pub(super) const fn to_be_bytes(self) -> [u8; 4] {
        self.sum.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compression::{Level, deflate};

    fn value(bytes: &[u8]) -> u32 {
        u32::from_be_bytes(Adler32::of(bytes).to_be_bytes())
    }

    #[test]
    fn known_bytes_have_the_known_checksum() {
        assert_eq!(value(b""), 1);
        assert_eq!(value(b"a"), 0x0062_0062);
        assert_eq!(value(b"abc"), 0x024d_0127);
        assert_eq!(value(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(value(b"message digest"), 0x2975_0586);
    }

    #[test]
    fn no_sum_overflows() {
        // Compares with the checksum that flate2 writes at the end of a stream.
        for len in [5551, 5552, 5553, 16_663, 1 << 20] {
            let bytes = vec![0xff; len];
            assert!(
                deflate(&bytes, Level::default()).ends_with(&Adler32::of(&bytes).to_be_bytes()),
                "{len}"
            );
        }
    }

    #[test]
    fn joined_checksums_equal_that_of_the_whole() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        for middle in [0, 1, 65_520, 65_521, 65_522, 131_042, 299_999, 300_000] {
            let (left, right) = bytes.split_at(middle);
            assert_eq!(
                Adler32::of(left).followed_by(Adler32::of(right)),
                Adler32::of(&bytes),
                "{middle}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_checksum_equals_that_of_flate2(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert!(deflate(&bytes, Level::default()).ends_with(&Adler32::of(&bytes).to_be_bytes()));
        }

        #[test]
        fn parts_join_in_any_grouping(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..8),
        ) {
            let whole = Adler32::of(&parts.concat());
            let sums: Vec<_> = parts.iter().map(|part| Adler32::of(part)).collect();
            let left = sums.iter().fold(Adler32::EMPTY, |all, part| all.followed_by(*part));
            let right = sums.iter().rev().fold(Adler32::EMPTY, |all, part| part.followed_by(all));
            prop_assert_eq!(left, whole);
            prop_assert_eq!(right, whole);
        }
    }
}
