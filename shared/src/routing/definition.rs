//! An `[[events]]` entry of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client_type::ClientType;

/// The kinds of sessions that can receive an application event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiverType {
    /// v1 sessions of type `bot`.
    Bot,
    /// v1 sessions of type `website`.
    Website,
    /// v1 sessions of type `service`.
    Service,
    /// Sessions of the Discord protocol.
    Discord,
}

impl ReceiverType {
    /// Returns the v1 client type, or `None` for sessions of the Discord protocol.
    pub const fn client_type(self) -> Option<ClientType> {
        match self {
            Self::Bot => Some(ClientType::Bot),
            Self::Website => Some(ClientType::Website),
            Self::Service => Some(ClientType::Service),
            Self::Discord => None,
        }
    }
}

/// Which sessions of the receiving types get an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliverMode {
    /// Every live session of the receiving types.
    #[default]
    All,
    /// Exactly one live session in the cluster.
    Any,
    /// The sessions that reported or watch the guild found in `d` at this JSON Pointer (RFC 6901).
    Guild(String),
    /// The sessions whose ticket names the user found in `d` at this JSON Pointer.
    User(String),
}

/// The definition of an event, before it is validated and its schema is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDefinition {
    /// The event's name, `t` on the wire.
    pub name: String,
    /// The client types that may send it.
    pub from: Vec<ClientType>,
    /// The types that receive it.
    pub to: Vec<ReceiverType>,
    /// Which sessions of those types get it.
    pub deliver: DeliverMode,
    /// Whether the event needs a live receiver. `None` means that it does if `deliver` is [`DeliverMode::Any`] or
    /// [`DeliverMode::Guild`].
    pub require_receiver: Option<bool>,
    /// Whether sessions of a ticket receive the event if `deliver` is [`DeliverMode::All`].
    pub to_tickets: bool,
    /// A JSON Schema for `d`, already parsed.
    pub schema: Option<serde_json::Value>,
    /// What makes the event a request. `None` if it is none.
    pub reply: Option<ReplyDefinition>,
    /// What makes the event a job. `None` if it is none.
    pub job: Option<JobDefinition>,
}

/// What makes an event a job: it is delivered again until a worker acknowledges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobDefinition {
    /// How long a worker may take to acknowledge it.
    pub ack_timeout: Duration,
    /// How often it is delivered at most.
    pub attempts: u32,
}

/// What makes an event a request: one session gets it and replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyDefinition {
    /// How long the requester waits for the reply.
    pub timeout: Duration,
    /// A JSON Schema for `d` of the reply, already parsed.
    pub schema: Option<serde_json::Value>,
}
