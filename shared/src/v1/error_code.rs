//! The catalogue of errors: `e` and `m` of an Error payload.

use crate::close::Close;

/// Why the gateway ends a connection (protocol v1, "Errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// An internal fault, or any condition without a code of its own.
    Unknown = 1000,
    /// `v` is not a version that this gateway supports.
    WrongVersion = 4000,
    /// The key is unknown, revoked or expired, or not valid for the type.
    WrongAuthKey = 4001,
    /// Another live session already has the generated id.
    BotIdUsed = 4002,
    /// An identified client sent an object without `op`.
    NoOpcode = 4003,
    /// `op` is not an integer, is unknown, or may be sent only by the gateway.
    WrongOpcode = 4004,
    /// `d` or `t` is missing or wrong.
    MalformedData = 4005,
    /// No heartbeat arrived in time.
    NoHeartbeat = 4006,
    /// Identify was sent twice, or not in time.
    WrongIdentify = 4007,
}

impl ErrorCode {
    /// All codes, in the order of the protocol's table.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::WrongVersion,
        Self::WrongAuthKey,
        Self::BotIdUsed,
        Self::NoOpcode,
        Self::WrongOpcode,
        Self::MalformedData,
        Self::NoHeartbeat,
        Self::WrongIdentify,
    ];

    /// Returns the code, which is `e` on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Returns the message, which is `m` on the wire unless something more precise is known.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown error.",
            Self::WrongVersion => "Wrong version.",
            Self::WrongAuthKey => "Wrong auth key.",
            Self::BotIdUsed => "Bot ID used.",
            Self::NoOpcode => "No opcode.",
            Self::WrongOpcode => "Wrong opcode.",
            Self::MalformedData => "Malformed data.",
            Self::NoHeartbeat => "No heartbeat.",
            Self::WrongIdentify => "Wrong identify.",
        }
    }

    /// Returns the close that follows the Error. It has the same code, except for 1000, which would read as a normal
    /// closure.
    pub const fn close(self) -> Close {
        match self {
            Self::Unknown => Close::INTERNAL,
            _ => Close::new(self.code(), self.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_pinned() {
        let pinned = [
            (1000, "Unknown error.", 1011, "Internal error."),
            (4000, "Wrong version.", 4000, "Wrong version."),
            (4001, "Wrong auth key.", 4001, "Wrong auth key."),
            (4002, "Bot ID used.", 4002, "Bot ID used."),
            (4003, "No opcode.", 4003, "No opcode."),
            (4004, "Wrong opcode.", 4004, "Wrong opcode."),
            (4005, "Malformed data.", 4005, "Malformed data."),
            (4006, "No heartbeat.", 4006, "No heartbeat."),
            (4007, "Wrong identify.", 4007, "Wrong identify."),
        ];
        assert_eq!(
            ErrorCode::ALL.map(|error| (error.code(), error.message(), error.close().code, error.close().reason)),
            pinned
        );
    }
}
