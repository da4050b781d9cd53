//! One `[[events]]` entry as an operator writes it.

use serde::{Deserialize, Serialize};

use crate::client_type::ClientType;

/// Who may receive an application event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiverType {
    /// v1 sessions of type `bot`.
    Bot,
    /// v1 sessions of type `website`.
    Website,
    /// v1 sessions of type `service`.
    Service,
    /// Discord-shaped sessions.
    Discord,
}

impl ReceiverType {
    /// The v1 type that receives, if it is one.
    pub const fn client_type(self) -> Option<ClientType> {
        match self {
            Self::Bot => Some(ClientType::Bot),
            Self::Website => Some(ClientType::Website),
            Self::Service => Some(ClientType::Service),
            Self::Discord => None,
        }
    }
}

/// Which of the receivers get an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliverMode {
    /// Every live session of the receiving types.
    #[default]
    All,
    /// Exactly one live session in the cluster.
    Any,
    /// The sessions that reported the guild found in `d` at this JSON Pointer (RFC 6901).
    Guild(String),
}

/// One event of the table, before its schema is compiled and its contradictions are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDefinition {
    /// The event's name, `t` on the wire.
    pub name: String,
    /// The client types that may send it.
    pub from: Vec<ClientType>,
    /// The types that receive it.
    pub to: Vec<ReceiverType>,
    /// Which sessions of those types.
    pub deliver: DeliverMode,
    /// A JSON Schema for `d`, already read and parsed.
    pub schema: Option<serde_json::Value>,
}
