//! The owner of a session that can be resumed.

use std::sync::Arc;

use shared::session_id::SessionId;

/// The connection that has a session: its id and a number that grows with each resume. Writes of an owner that is not the
/// latest one are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The application of the session.
    pub application: Arc<str>,
    /// The session.
    pub id: SessionId,
    /// Which of its owners this is.
    pub fencing_token: u64,
}
