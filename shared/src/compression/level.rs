//! How hard zlib tries.

use flate2::{Compress, Compression};

/// A level of zlib: 0 only stores, 1 is the fastest, 9 the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(u8);

impl Level {
    /// This level, or the highest one there is.
    pub const fn new(level: u32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "at most nine")]
        Self(if level > 9 { 9 } else { level as u8 })
    }

    /// A compressor of this level that has seen nothing: the one that is kept, where that is of this level.
    pub(super) fn lend(self, kept: &mut Option<(Self, Compress)>, has_header: bool) -> &mut Compress {
        let fresh = || (self, Compress::new(self.into(), has_header));
        if kept.as_ref().is_some_and(|(level, _)| *level != self) {
            *kept = None;
        }
        let (_, compress) = kept.get_or_insert_with(fresh);
        compress.reset();
        compress
    }
}

impl Default for Level {
    /// What zlib itself uses by default.
    fn default() -> Self {
        Self::new(6)
    }
}

impl From<Level> for Compression {
    fn from(level: Level) -> Self {
        Self::new(level.0.into())
    }
}
