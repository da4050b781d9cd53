//! Violations of the transport by a peer.

use shared::close::Close;

/// A violation by the peer that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 6455 does not allow the frame.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text or the reason of a close frame is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// The declared length of a frame would make the message larger than the limit.
    #[error("message is larger than the limit")]
    TooBig,
}

impl Violation {
    /// The close code and reason for this violation (RFC 6455, section 7.4.1).
    pub const fn close(self) -> Close {
        match self {
            Self::Protocol(_) => Close::PROTOCOL_ERROR,
            Self::InvalidUtf8 => Close::INVALID_PAYLOAD,
            Self::TooBig => Close::TOO_BIG,
        }
    }
}
