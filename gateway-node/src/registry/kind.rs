//! What a session is.

use serde::{Serialize, Serializer};
use shared::client_type::ClientType;

/// What a session is, whatever its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A session of version 1 of this type.
    V1(ClientType),
    /// A Discord session.
    Discord,
}

impl SessionKind {
    /// The type that its key has to be for.
    pub const fn of_key(self) -> ClientType {
        match self {
            Self::V1(kind) => kind,
            Self::Discord => ClientType::Bot,
        }
    }

    /// The name in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1(kind) => kind.as_str(),
            Self::Discord => "discord",
        }
    }
}

impl Serialize for SessionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
