//! How far a session is in its log.

use crate::backplane::Position;

/// A session's cursor in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCursor {
    /// The node-local number of the last entry that the session received or filtered out.
    pub number: u64,
    /// The log position of that entry.
    pub position: Position,
}
