//! The owner of a resumable session.

use std::sync::Arc;

use shared::session_id::SessionId;

/// The connection that owns a session: the session's id, and a fencing token that grows with each resume. Writes by any
/// owner but the latest are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The application of the session.
    pub application: Arc<str>,
    /// The session.
    pub id: SessionId,
    /// The fencing token: 1 for the connection that opened the session, one more for each resume.
    pub fencing_token: u64,
}
