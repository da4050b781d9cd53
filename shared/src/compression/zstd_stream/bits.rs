//! Bit readers and a bit writer for the two orders of zstd: forward from the first bit, and backward from the last.

/// Returns the `count` bits that start at bit `at`, the first one as the lowest. `count` is at most 32, and `bytes`
/// must have that many.
fn bits(bytes: &[u8], at: usize, count: u8) -> u32 {
    let from = bytes.get(at / 8..).unwrap_or_default();
    let mut window = [0; 8];
    let len = from.len().min(window.len());
    window[..len].copy_from_slice(&from[..len]);
    let word = (u64::from_le_bytes(window) >> (at % 8)) & ((1 << count) - 1);
    u32::try_from(word).unwrap_or_default()
}

/// Reads bits forward from the first.
pub(super) struct Forward<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Forward<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the next `count` bits, at most 32, or `None` if there are fewer.
    pub(super) fn read(&mut self, count: u8) -> Option<u32> {
        let end = self.at + usize::from(count);
        if end > self.bytes.len() * 8 {
            return None;
        }
        let value = bits(self.bytes, self.at, count);
        self.at = end;
        Some(value)
    }

    /// Returns the number of bytes read, including one that was read in part.
    pub(super) const fn bytes_read(&self) -> usize {
        self.at.div_ceil(8)
    }
}

/// Reads bits backward from the last. The highest bit that is set in the last byte marks the end.
pub(super) struct Backward<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Backward<'a> {
    /// Returns `None` if the end is not marked.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mark = bytes.last()?.checked_ilog2()?;
        let left = (bytes.len() - 1) * 8 + usize::try_from(mark).ok()?;
        Some(Self { bytes, left })
    }

    /// Returns the next `count` bits, at most 32, or `None` if there are fewer.
    pub(super) fn read(&mut self, count: u8) -> Option<u32> {
        self.left = self.left.checked_sub(count.into())?;
        Some(bits(self.bytes, self.left, count))
    }

    /// Returns whether all bits were read.
    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// Writes bits for [`Backward`], which reads them in reverse order.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The bits that do not fill a byte yet.
    pending: u64,
    count: u8,
}

impl<'a> Writer<'a> {
    /// Creates a writer that appends to `out`.
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            pending: 0,
            count: 0,
        }
    }

    /// Writes the lowest `count` bits of `value`, at most 32. The others must be 0.
    pub(super) fn write(&mut self, value: u32, count: u8) {
        self.pending |= u64::from(value) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.push(self.pending.to_le_bytes()[0]);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// Marks the end, and fills the last byte.
    pub(super) fn finish(mut self) {
        self.write(1, 1);
        if self.count > 0 {
            self.write(0, 8 - self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forward_reads_from_the_lowest_bit() {
        let mut forward = Forward::new(&[0b1010_0110, 0b0000_0001]);
        assert_eq!(forward.read(3), Some(0b110));
        assert_eq!(forward.bytes_read(), 1);
        assert_eq!(forward.read(6), Some(0b11_0100));
        assert_eq!(forward.bytes_read(), 2);
        assert_eq!(forward.read(8), None);
        assert_eq!(forward.read(7), Some(0));
        assert_eq!(forward.read(0), Some(0));
        assert_eq!(forward.read(1), None);
    }

    #[test]
    fn data_without_an_end_mark_is_refused() {
        assert!(Backward::new(&[]).is_none());
        assert!(Backward::new(&[0xff, 0]).is_none());
        assert!(Backward::new(&[1]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn bits_are_read_in_reverse_order(
            values in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..200),
        ) {
            let values: Vec<_> = values
                .into_iter()
                .map(|(value, count)| (u32::try_from(u64::from(value) & ((1 << count) - 1)).unwrap(), count))
                .collect();
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            for &(value, count) in &values {
                writer.write(value, count);
            }
            writer.finish();
            let mut reader = Backward::new(&bytes).unwrap();
            for &(value, count) in values.iter().rev() {
                prop_assert_eq!(reader.read(count), Some(value));
            }
            prop_assert!(reader.is_empty());
            prop_assert_eq!(reader.read(1), None);
        }
    }
}
