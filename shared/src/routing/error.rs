//! What can be wrong with a table of events.

use jsonschema::ValidationError;

/// Why the configured events make no table: the event, what is wrong, and what is expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// An event has no name.
    #[error("event number {number} has an empty name, expected at least one character")]
    EmptyName {
        /// Its place in the table, from 1.
        number: usize,
    },
    /// Two events have one name.
    #[error("event {event:?} is defined twice, expected one definition for each name")]
    Duplicate {
        /// The name.
        event: String,
    },
    /// The name belongs to the protocol.
    #[error(
        "event {event:?} has a name of the protocol, expected none of \"identify\", \"send_servers\", \
         \"GLOBAL_GUILD_COUNT\" and nothing that ends in \"_connect_success\""
    )]
    Reserved {
        /// The name.
        event: String,
    },
    /// Nobody may send the event.
    #[error("event {event:?} has an empty `from`, expected at least one client type")]
    EmptyFrom {
        /// The name.
        event: String,
    },
    /// Nobody receives the event.
    #[error("event {event:?} has an empty `to`, expected at least one receiver type")]
    EmptyTo {
        /// The name.
        event: String,
    },
    /// The place of the guild id is no JSON Pointer into an object.
    #[error("event {event:?} has the guild pointer {pointer:?}, expected a JSON Pointer such as \"/guildId\"")]
    Pointer {
        /// The name.
        event: String,
        /// What stands in place of a pointer.
        pointer: String,
    },
    /// The schema does not compile, or refers to another document: none is ever fetched.
    #[error("event {event:?} has a schema that does not compile: {source}")]
    Schema {
        /// The name.
        event: String,
        /// The schema's fault.
        source: Box<ValidationError<'static>>,
    },
}
