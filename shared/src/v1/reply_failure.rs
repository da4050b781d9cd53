//! The outcome of a request that got no reply.

use std::sync::Arc;

/// Why a request got no reply: `code` of a `reply_failed`. The request may still have been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyFailure {
    /// No reply came in time.
    Timeout,
    /// The receiver's session has ended.
    Gone,
    /// The receiver sent this error: one JSON object.
    Error(Arc<str>),
    /// What the receiver sent is no object, too large, or against the schema of replies.
    InvalidReply,
}

impl ReplyFailure {
    /// Returns the code on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::Error(_) => "error",
            Self::InvalidReply => "invalid_reply",
        }
    }
}
