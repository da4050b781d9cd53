//! An event for a client.

use super::json::quoted;
use crate::user::UserId;

/// Builds an event for a client. `d` must be JSON and is sent unchanged.
pub fn event(name: &str, d: &str) -> String {
    let name = quoted(name);
    // Allocated at once, since `d` can be large.
    let parts = [r#"{"op":0,"t":"#, &name, r#","d":"#, d, "}"];
    parts.concat()
}

/// The fields of an event that only some clients are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFields<'a> {
    /// The receipt, if the event is a request or a job.
    pub receipt: Option<&'a str>,
    /// The number of the delivery, if the event is a job.
    pub attempt: Option<u32>,
    /// The position in the log, if the client is told its positions.
    pub position: Option<&'a str>,
    /// The user who sent the event, if one did.
    pub user: Option<&'a UserId>,
}

/// Builds an event with these fields. `d` must be JSON and is sent unchanged.
pub fn event_with(name: &str, fields: &EventFields<'_>, d: &str) -> String {
    let EventFields {
        receipt,
        attempt,
        position,
        user,
    } = fields;
    let receipt = receipt.map_or_else(String::new, |receipt| format!(r#","r":"{receipt}""#));
    let attempt = attempt.map_or_else(String::new, |attempt| format!(r#","a":{attempt}"#));
    let position = position.map_or_else(String::new, |position| format!(r#","p":"{position}""#));
    let user = user.map_or_else(String::new, |user| format!(r#","u":{}"#, quoted(user.as_str())));
    let name = quoted(name);
    let parts = [
        r#"{"op":0,"t":"#,
        &name,
        &receipt,
        &attempt,
        &position,
        &user,
        r#","d":"#,
        d,
        "}",
    ];
    parts.concat()
}
