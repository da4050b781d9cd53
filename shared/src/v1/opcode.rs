//! The catalogue of opcodes.

/// What a payload is (protocol v1, "Payload").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// -1: something is wrong, and the gateway closes after it.
    Error,
    /// 0: an event for a client.
    Event,
    /// 1: an event from a client.
    ClientEvent,
    /// 5: the first payload, with the heartbeat interval.
    Hello,
    /// 10: the client is alive.
    Heartbeat,
    /// 11: so is the gateway.
    HeartbeatAck,
}

/// Who sends a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The gateway.
    Gateway,
    /// A client.
    Client,
}

impl Opcode {
    /// Every opcode, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Event,
        Self::ClientEvent,
        Self::Hello,
        Self::Heartbeat,
        Self::HeartbeatAck,
    ];

    /// The opcode with this number, if there is one.
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

    /// The number on the wire.
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

    /// Who sends it.
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
    fn numbers_outside_of_the_catalogue_are_no_opcodes() {
        for number in -100..100 {
            let known = Opcode::ALL.into_iter().find(|op| op.number() == number);
            assert_eq!(Opcode::from_i64(number), known);
        }
        assert_eq!(Opcode::from_i64(i64::MIN), None);
        assert_eq!(Opcode::from_i64(i64::MAX), None);
    }
}
