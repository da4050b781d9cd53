//! What a peer may not do.

use shared::close::Close;

/// What a peer did that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that RFC 6455 does not allow.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text or a close reason that is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// The frame's declared length would take the message over the limit.
    #[error("message is larger than the limit")]
    TooBig,
}

impl Violation {
    /// How the connection is closed for it (RFC 6455, section 7.4.1).
    pub const fn close(self) -> Close {
        match self {
            Self::Protocol(_) => Close::PROTOCOL_ERROR,
            Self::InvalidUtf8 => Close::INVALID_PAYLOAD,
            Self::TooBig => Close::TOO_BIG,
        }
    }
}
