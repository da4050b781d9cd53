//! The catalogue of close codes and reasons of v1 WebSockets.
//!
//! Codes 1000 to 1013 are defined by RFC 6455 section 7.4.1 and its IANA registry. Codes 4000 to 4007 repeat `e` of the
//! Error payload sent before them and come from [`ErrorCode::close`](crate::v1::ErrorCode::close).

/// The status code and reason with which the gateway closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The status code of the Close frame.
    pub code: u16,
    /// The reason in the Close frame: a plain sentence of at most 123 bytes (RFC 6455 section 5.5). It also serves as
    /// `m` of the Error payload sent before it.
    pub reason: &'static str,
}

impl Close {
    /// The connection has fulfilled its purpose.
    pub const NORMAL: Self = Self::new(1000, "Normal closure.");
    /// The peer is going away.
    pub const GOING_AWAY: Self = Self::new(1001, "Going away.");
    /// The peer broke RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self::new(1002, "Protocol error.");
    /// A text message is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self::new(1007, "Invalid payload.");
    /// The client exceeded its limit of payloads per minute.
    pub const RATE_LIMITED: Self = Self::new(1008, "Rate limit exceeded.");
    /// An administrator ended the session.
    pub const KICKED: Self = Self::new(1008, "Kicked by an administrator.");
    /// A message exceeds the size limit, as received or after inflating.
    pub const TOO_BIG: Self = Self::new(1009, "Message too big.");
    /// A fault inside the gateway; the log has the cause.
    pub const INTERNAL: Self = Self::new(1011, "Internal error.");
    /// The node is draining, or can no longer guarantee that the client gets every event. The client should reconnect.
    pub const RESTARTING: Self = Self::new(1012, "The node is restarting.");
    /// The node cannot accept the client now. The client should retry later.
    pub const OVERLOADED: Self = Self::new(1013, "The node is overloaded.");
    /// Redis, which the nodes share, is unreachable or rejects writes. The client should retry later.
    pub const UNAVAILABLE: Self = Self::new(1013, "Redis is unavailable.");
    /// The client reads more slowly than its events arrive.
    pub const TOO_SLOW: Self = Self::new(1013, "The client reads too slowly.");

    /// The whole catalogue.
    pub const ALL: [Self; 12] = [
        Self::NORMAL,
        Self::GOING_AWAY,
        Self::PROTOCOL_ERROR,
        Self::INVALID_PAYLOAD,
        Self::RATE_LIMITED,
        Self::KICKED,
        Self::TOO_BIG,
        Self::INTERNAL,
        Self::RESTARTING,
        Self::OVERLOADED,
        Self::UNAVAILABLE,
        Self::TOO_SLOW,
    ];

    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_pinned() {
        let pinned = [
            (1000, "Normal closure."),
            (1001, "Going away."),
            (1002, "Protocol error."),
            (1007, "Invalid payload."),
            (1008, "Rate limit exceeded."),
            (1008, "Kicked by an administrator."),
            (1009, "Message too big."),
            (1011, "Internal error."),
            (1012, "The node is restarting."),
            (1013, "The node is overloaded."),
            (1013, "Redis is unavailable."),
            (1013, "The client reads too slowly."),
        ];
        assert_eq!(Close::ALL.map(|close| (close.code, close.reason)), pinned);
    }
}
