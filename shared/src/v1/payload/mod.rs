//! The payloads that the gateway sends: compact JSON, with keys in the order of the protocol's examples.

mod answer;
mod connect_success;
mod event;
mod guild_count;
mod json;
#[cfg(test)]
mod tests;

use self::json::{push_problems, quoted};
pub use self::{
    answer::{accepted, refused, reply, reply_failed},
    connect_success::{CONNECT_SUCCESS_SUFFIX, ConnectSuccess},
    event::{EventFields, event, event_with},
    guild_count::GuildCount,
};
use super::{CAUGHT_UP, EVENTS_LOST, ErrorCode, Opcode};
use crate::problem::Problem;

/// The answer to a heartbeat.
pub const HEARTBEAT_ACK: &str = r#"{"op":11}"#;

/// Builds the answer to a heartbeat of a client that is told its positions.
pub fn heartbeat_ack_at(position: &str) -> String {
    [r#"{"op":11,"p":""#, position, r#""}"#].concat()
}

/// Builds the Hello, the first payload of a connection: the client must send a heartbeat at least every `ms`
/// milliseconds.
///
/// The interval is there under two keys, since clients were written against either spelling.
pub fn hello(ms: u64) -> String {
    format!(r#"{{"op":5,"d":{{"heartbeat":{ms},"hearbeat":{ms}}}}}"#)
}

/// Builds an Error. `d` is left out if there are no problems.
pub fn error(code: ErrorCode, message: &str, problems: &[Problem]) -> String {
    let mut json = format!(
        r#"{{"op":{},"e":{},"m":{}"#,
        Opcode::Error.number(),
        code.code(),
        quoted(message)
    );
    if !problems.is_empty() {
        json.push_str(r#","d":{"#);
        push_problems(&mut json, problems);
        json.push('}');
    }
    json.push('}');
    json
}

/// Builds the event that ends catching up: the client has the `events` that it missed up to `position`.
pub fn caught_up(position: &str, events: u64) -> String {
    event(CAUGHT_UP, &format!(r#"{{"position":"{position}","events":{events}}}"#))
}

/// Builds the event that tells a client that what it missed after `after`, as it was sent, is not known. It receives the
/// events after `position`.
pub fn events_lost(after: &str, position: &str) -> String {
    event(
        EVENTS_LOST,
        &format!(r#"{{"after":{},"position":"{position}"}}"#, quoted(after)),
    )
}
