//! The message that a session has a new owner.

use shared::session_id::SessionId;

/// Parses a message about a new owner into session and fencing token. Returns `None` for any other message.
pub(in crate::backends::redis) fn owner_in(message: &[u8]) -> Option<(SessionId, u64)> {
    let (id, fencing_token) = str::from_utf8(message).ok()?.strip_prefix("owner ")?.split_once(' ')?;
    Some((SessionId::from_raw(id.parse().ok()?), fencing_token.parse().ok()?))
}
