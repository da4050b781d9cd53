//! Compression levels of zlib.

use flate2::{Compress, Compression};

/// A zlib compression level: 0 only stores, 1 is the fastest, 9 gives the smallest output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(u8);

impl Level {
    /// Creates a level. Values above 9 count as 9.
    pub const fn new(level: u32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "at most nine")]
        Self(if level > 9 { 9 } else { level as u8 })
    }

    /// Returns a reset compressor of this level: the one in `kept` if it has this level, otherwise a new one, which
    /// replaces it.
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
    /// zlib's own default.
    fn default() -> Self {
        Self::new(6)
    }
}

impl From<Level> for Compression {
    fn from(level: Level) -> Self {
        Self::new(level.0.into())
    }
}
