//! Errors in the configured events.

use super::SchemaError;
use crate::v1::RESERVED_EVENTS;

/// Why no routing table can be built from the configured events. The message names the event, what is wrong, and what
/// is expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// An event has no name.
    #[error("event number {number} has an empty name, expected at least one character")]
    EmptyName {
        /// The position of the event in the table, from 1.
        number: usize,
    },
    /// Two events have the same name.
    #[error("event {event:?} is defined twice, expected one definition for each name")]
    Duplicate {
        /// The event's name.
        event: String,
    },
    /// The name is reserved by the protocol.
    #[error(
        "event {event:?} has a name reserved by the protocol, expected none of {} and nothing that ends in \
         \"_connect_success\"",
        RESERVED_EVENTS.map(|name| format!("{name:?}")).join(", ")
    )]
    Reserved {
        /// The event's name.
        event: String,
    },
    /// No client type may send the event.
    #[error("event {event:?} has an empty `from`, expected at least one client type")]
    EmptyFrom {
        /// The event's name.
        event: String,
    },
    /// No sessions receive the event.
    #[error("event {event:?} has an empty `to`, expected at least one receiver type")]
    EmptyTo {
        /// The event's name.
        event: String,
    },
    /// The pointer to a guild or user is not a JSON Pointer to something inside an object.
    #[error("event {event:?} has the pointer {pointer:?}, expected a JSON Pointer such as \"/guildId\"")]
    Pointer {
        /// The event's name.
        event: String,
        /// The configured pointer.
        pointer: String,
    },
    /// A request to all sessions: a request goes to one session, which replies.
    #[error("event {event:?} is a request to all sessions, expected one that is delivered to any, a guild or a user")]
    RequestToAll {
        /// The event's name.
        event: String,
    },
    /// A job that is not delivered to any session.
    #[error("event {event:?} is a job, expected one that is delivered to any")]
    JobNotToAny {
        /// The event's name.
        event: String,
    },
    /// An event that is both a request and a job.
    #[error("event {event:?} is a request and a job, expected one of them")]
    RequestAndJob {
        /// The event's name.
        event: String,
    },
    /// A request or a job to Discord sessions, which cannot answer.
    #[error("event {event:?} is a request or a job to Discord sessions, expected other receivers")]
    AnswerOfDiscord {
        /// The event's name.
        event: String,
    },
    /// The schema of replies cannot be used.
    #[error("event {event:?} has a schema of replies that does not compile: {source}")]
    ReplySchema {
        /// The event's name.
        event: String,
        /// The error in the schema.
        source: SchemaError,
    },
    /// The schema cannot be used.
    #[error("event {event:?} has a schema that does not compile: {source}")]
    Schema {
        /// The event's name.
        event: String,
        /// The error in the schema.
        source: SchemaError,
    },
}
