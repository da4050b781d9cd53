//! Who has a session that can have one owner after the other.

use std::sync::Arc;

use shared::session_id::SessionId;

/// Who has a session now. What is said under an owner that is no longer the latest one is not heard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The application of the session.
    pub application: Arc<str>,
    /// The session.
    pub id: SessionId,
    /// Which of its owners this is.
    pub generation: u64,
}
