//! The permissions of a Unix socket.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::setting::setting;

/// Permissions of a file, written as three octal digits with or without a zero in front: `660`, `0660`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixMode(u32);

/// The error for a text that is no such permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not three octal digits")]
pub struct NotAMode;

impl UnixMode {
    /// Returns the permission bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for UnixMode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, NotAMode> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let is_octal = digits.len() == 3 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if is_octal => Ok(Self(bits)),
            _ => Err(NotAMode),
        }
    }
}

impl fmt::Display for UnixMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

impl Serialize for UnixMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

setting! { UnixMode: Text, "a string of three octal digits such as \"660\""; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_octal_digits_are_permissions() {
        for (text, bits) in [("660", 0o660), ("0666", 0o666), ("000", 0), ("777", 0o777)] {
            let mode: UnixMode = text.parse().unwrap();
            assert_eq!(mode.bits(), bits);
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for wrong in ["", "66", "668", "+60", "1777", "00660", "rw-rw----"] {
            assert_eq!(wrong.parse::<UnixMode>(), Err(NotAMode), "{wrong}");
        }
    }
}
