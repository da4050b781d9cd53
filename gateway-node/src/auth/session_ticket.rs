//! The ticket that a session has identified with.

use std::sync::Arc;

use shared::ticket::TicketRights;

use super::Key;

/// The ticket of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTicket {
    /// The key that issued it.
    pub issuer: Arc<Key>,
    /// What the session may do.
    pub rights: TicketRights,
    /// When it was issued, in milliseconds of the store's clock.
    pub issued_at: u64,
    /// The name under which the session's idempotency keys and changes of guilds are counted: that of the issuing key
    /// and the user, or of the ticket if it names no user. So no page can use up a name of its backend or of another user.
    pub namespace: Arc<str>,
}

impl SessionTicket {
    /// Creates the ticket with this id.
    pub fn new(issuer: Arc<Key>, id: &str, rights: TicketRights, issued_at: u64) -> Self {
        // In hexadecimal, because a user can have any character.
        let namespace = match &rights.user {
            Some(user) => format!("{}/u{}", issuer.id(), hex::encode(user.as_str())),
            None => format!("{}/t{id}", issuer.id()),
        };
        Self {
            namespace: namespace.into(),
            issuer,
            rights,
            issued_at,
        }
    }
}
