//! The versions of the protocol and what differs between them.

/// A version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 6.
    V6 = 6,
    /// 7.
    V7 = 7,
    /// 8: intents are required.
    V8 = 8,
    /// 9.
    V9 = 9,
    /// 10: the content of messages is an intent.
    V10 = 10,
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 5] = [Self::V6, Self::V7, Self::V8, Self::V9, Self::V10];

    /// The version that `text` names, without a leading zero or sign.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.number().to_string() == text)
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether Identify may leave the intents out.
    pub const fn makes_intents_optional(self) -> bool {
        matches!(self, Self::V6 | Self::V7)
    }

    /// Whether the content of messages is only for those who have its intent.
    pub const fn withholds_content(self) -> bool {
        matches!(self, Self::V10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_one_way() {
        for version in Version::ALL {
            assert_eq!(Version::parse(&version.number().to_string()), Some(version));
        }
        for text in ["", "1", "5", "11", "06", "+6", "6.0", " 6"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
