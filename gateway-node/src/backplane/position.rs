//! Positions in a log.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// The position of an entry in the log of its application. Displayed as the epoch, a hyphen and the offset, which is how
/// clients get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The offset. Offsets start at 1 and have no gaps.
    pub offset: u64,
    /// The epoch of the log that the offset belongs to.
    pub epoch: Epoch,
}

impl Position {
    /// Whether the entry at this position came after `other`. A later epoch may start at a lower offset, but every
    /// entry in it comes after those of earlier epochs. The epoch of `self` must not be older than that of `other`.
    pub fn is_after(self, other: Self) -> bool {
        self.offset > other.offset || self.epoch != other.epoch
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(NoPosition)?;
        let position = Self {
            epoch: epoch.parse().map_err(|_| NoPosition)?,
            offset: offset.parse().map_err(|_| NoPosition)?,
        };
        // Another spelling of a position is none that a client was given.
        (position.to_string() == text).then_some(position).ok_or(NoPosition)
    }
}

/// The error for a text that is no position of any log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of a log")]
pub struct NoPosition;

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Position", 3)?;
        fields.serialize_field("offset", &self.offset)?;
        fields.serialize_field("epoch", &self.epoch)?;
        fields.serialize_field("position", &self.to_string())?;
        fields.end()
    }
}

/// An epoch of a log: it lasts until its server restarts or fails over. Displayed as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with this number. Epoch numbers are random.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_displayed() {
        let position = Position {
            offset: 1042,
            epoch: Epoch::from_raw(0x00f3_a1c2_9b7d_4e55),
        };
        assert_eq!(position.to_string(), "00f3a1c29b7d4e55-1042");
        assert_eq!("00f3a1c29b7d4e55-1042".parse(), Ok(position));
        for wrong in [
            "",
            "-",
            "1042",
            "f3a1c29b7d4e55-1042",
            "00f3a1c29b7d4e55-",
            "00f3a1c29b7d4e55-01042",
            "00f3a1c29b7d4e55-18446744073709551616",
            "00f3a1c29b7d4e55-1-2",
            "00f3a1c29b7d4exx-1",
        ] {
            assert_eq!(wrong.parse::<Position>(), Err(NoPosition), "{wrong}");
        }
    }
}
