//! The versions of the Discord protocol and their differences.

/// A supported version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 6.
    V6 = 6,
    /// Version 7.
    V7 = 7,
    /// Version 8: intents are required.
    V8 = 8,
    /// Version 9.
    V9 = 9,
    /// Version 10: message content requires an intent.
    V10 = 10,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 5] = [Self::V6, Self::V7, Self::V8, Self::V9, Self::V10];

    /// Parses a version number, which must not have a leading zero or sign.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.number().to_string() == text)
    }

    /// Returns the version number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns whether Identify may omit the intents.
    pub const fn makes_intents_optional(self) -> bool {
        matches!(self, Self::V6 | Self::V7)
    }

    /// Returns whether message content is withheld from sessions without the intent for it.
    pub const fn withholds_content(self) -> bool {
        matches!(self, Self::V10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_spelling() {
        for version in Version::ALL {
            assert_eq!(Version::parse(&version.number().to_string()), Some(version));
        }
        for text in ["", "1", "5", "11", "06", "+6", "6.0", " 6"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
