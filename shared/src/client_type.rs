//! Client types: the values of `type` in an identify that the gateway knows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The type of a client. Keys are valid for certain types, and events go from and to certain types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientType {
    /// A bot, which reports its guilds and receives the global guild count.
    Bot,
    /// A website.
    Website,
    /// A service, over a socket or over HTTP.
    Service,
}

impl ClientType {
    /// Every type, in the order in which tables and metrics list them.
    pub const ALL: [Self; 3] = [Self::Bot, Self::Website, Self::Service];

    /// Returns the name used on the wire and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Website => "website",
            Self::Service => "service",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for ClientType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a string that names no [`ClientType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such client type")]
pub struct UnknownClientType;

impl FromStr for ClientType {
    type Err = UnknownClientType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or(UnknownClientType)
    }
}

/// A set of client types, stored in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientTypes(u8);

impl ClientTypes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The set of every type.
    pub const ALL: Self = Self((1 << ClientType::ALL.len()) - 1);

    /// Returns the set as a bit mask: one bit for each type, in the order of [`ClientType::ALL`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Creates a set from a bit mask. Bits that stand for no type are ignored.
    pub fn from_bits(bits: u8) -> Self {
        ClientType::ALL
            .into_iter()
            .filter(|kind| bits & kind.bit() != 0)
            .collect()
    }

    /// Returns whether `kind` is in the set.
    pub const fn contains(self, kind: ClientType) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Returns whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<ClientType> for ClientTypes {
    fn from(kind: ClientType) -> Self {
        Self(kind.bit())
    }
}

impl FromIterator<ClientType> for ClientTypes {
    fn from_iter<I: IntoIterator<Item = ClientType>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | kind.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_refused() {
        for kind in ClientType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("Bot".parse::<ClientType>(), Err(UnknownClientType));
        assert_eq!("".parse::<ClientType>(), Err(UnknownClientType));
    }

    #[test]
    fn a_set_contains_only_its_types() {
        let set: ClientTypes = [ClientType::Bot, ClientType::Service].into_iter().collect();
        assert!(set.contains(ClientType::Bot) && set.contains(ClientType::Service));
        assert!(!set.contains(ClientType::Website));
        assert!(ClientTypes::NONE.is_empty());
    }
}
