//! The kinds of sessions.

use serde::{Serialize, Serializer};
use shared::client_type::ClientType;

/// The kind of a session, for any protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A v1 session of this client type.
    V1(ClientType),
    /// A Discord session.
    Discord,
}

impl SessionKind {
    /// Returns the client type that the session's key must permit.
    pub const fn of_key(self) -> ClientType {
        match self {
            Self::V1(kind) => kind,
            Self::Discord => ClientType::Bot,
        }
    }

    /// Returns the name used in HTTP responses and metrics.
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
