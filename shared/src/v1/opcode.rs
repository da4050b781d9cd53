//! The catalogue of opcodes.

/// The type of a payload (protocol v1, "Payload").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// -1: an error, after which the gateway closes the connection.
    Error,
    /// 0: an event for a client.
    Event,
    /// 1: an event from a client.
    ClientEvent,
    /// 5: the first payload, with the heartbeat interval.
    Hello,
    /// 10: the client is alive.
    Heartbeat,
    /// 11: the gateway acknowledges a heartbeat.
    HeartbeatAck,
}

/// The side that sends a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The gateway.
    Gateway,
    /// A client.
    Client,
}

impl Opcode {
    /// All opcodes, in the order of the protocol's table.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Event,
        Self::ClientEvent,
        Self::Hello,
        Self::Heartbeat,
        Self::HeartbeatAck,
    ];

    /// Returns the opcode with this number, if there is one.
    pub const fn from_i64(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Self::Error),
            0 => Some(Self::Event),
            1 => Some(Self::ClientEvent),
            5 => Some(Self::Hello),
            10 => Some(Self::Heartbeat),
            11 => Some(Self::HeartbeatAck),
            _ => None,
        }
    }

    /// Returns the number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::Error => -1,
            Self::Event => 0,
            Self::ClientEvent => 1,
            Self::Hello => 5,
            Self::Heartbeat => 10,
            Self::HeartbeatAck => 11,
        }
    }

    /// Returns the side that sends it.
    pub const fn sender(self) -> Side {
        match self {
            Self::ClientEvent | Self::Heartbeat => Side::Client,
            Self::Error | Self::Event | Self::Hello | Self::HeartbeatAck => Side::Gateway,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_pinned() {
        let pinned = [
            (-1, Side::Gateway),
            (0, Side::Gateway),
            (1, Side::Client),
            (5, Side::Gateway),
            (10, Side::Client),
            (11, Side::Gateway),
        ];
        assert_eq!(Opcode::ALL.map(|opcode| (opcode.number(), opcode.sender())), pinned);
    }

    #[test]
    fn unknown_numbers_are_not_opcodes() {
        for number in -100..100 {
            let known = Opcode::ALL.into_iter().find(|op| op.number() == number);
            assert_eq!(Opcode::from_i64(number), known);
        }
        assert_eq!(Opcode::from_i64(i64::MIN), None);
        assert_eq!(Opcode::from_i64(i64::MAX), None);
    }
}
