//! The event that confirms an identify.

use super::{event::event, json::quoted};
use crate::{client_type::ClientType, session_id::SessionId};

/// The suffix of the event that confirms an identify. The client's type comes before it.
pub const CONNECT_SUCCESS_SUFFIX: &str = "_connect_success";

/// What a client is told when it has identified.
#[derive(Debug, Clone, Copy)]
pub struct ConnectSuccess<'a> {
    /// The client's type.
    pub kind: ClientType,
    /// The session's id.
    pub id: SessionId,
    /// The node's name.
    pub node: &'a str,
    /// The interval between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// The milliseconds until the session ends, if it has a ticket.
    pub expires_in_ms: Option<u64>,
    /// The end of the log, if the client is told its positions.
    pub position: Option<&'a str>,
}

impl ConnectSuccess<'_> {
    /// Builds the answer to a successful identify.
    pub fn payload(&self) -> String {
        let end = self
            .expires_in_ms
            .map_or_else(String::new, |ms| format!(r#","expires_in_ms":{ms}"#));
        let position = self
            .position
            .map_or_else(String::new, |position| format!(r#","position":"{position}""#));
        event(
            &format!("{}{CONNECT_SUCCESS_SUFFIX}", self.kind),
            &format!(
                r#"{{"id":"{}","node":{},"heartbeat":{}{end}{position}}}"#,
                self.id,
                quoted(self.node),
                self.heartbeat_ms
            ),
        )
    }
}
