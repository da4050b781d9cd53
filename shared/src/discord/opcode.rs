//! The catalogue of opcodes.

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0: an event, with its number in the session.
    Dispatch,
    /// 1: from a client, that it is alive and what it has; from the gateway, that it should say so now.
    Heartbeat,
    /// 2: a new session.
    Identify,
    /// 3: the client's presence.
    PresenceUpdate,
    /// 4: the voice channel that the client is in.
    VoiceStateUpdate,
    /// 5: accepted and ignored.
    VoiceServerPing,
    /// 6: go on with a session.
    Resume,
    /// 7: the client should reconnect and resume.
    Reconnect,
    /// 8: members of a guild.
    RequestGuildMembers,
    /// 9: there is no such session, or not now.
    InvalidSession,
    /// 10: the first payload, with the heartbeat interval.
    Hello,
    /// 11: a heartbeat has arrived.
    HeartbeatAck,
    /// 31: soundboard sounds of guilds.
    RequestSoundboardSounds,
    /// 43: what a guild's channels are doing.
    RequestChannelInfo,
}

impl Opcode {
    /// Every opcode, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::Dispatch,
        Self::Heartbeat,
        Self::Identify,
        Self::PresenceUpdate,
        Self::VoiceStateUpdate,
        Self::VoiceServerPing,
        Self::Resume,
        Self::Reconnect,
        Self::RequestGuildMembers,
        Self::InvalidSession,
        Self::Hello,
        Self::HeartbeatAck,
        Self::RequestSoundboardSounds,
        Self::RequestChannelInfo,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Dispatch => 0,
            Self::Heartbeat => 1,
            Self::Identify => 2,
            Self::PresenceUpdate => 3,
            Self::VoiceStateUpdate => 4,
            Self::VoiceServerPing => 5,
            Self::Resume => 6,
            Self::Reconnect => 7,
            Self::RequestGuildMembers => 8,
            Self::InvalidSession => 9,
            Self::Hello => 10,
            Self::HeartbeatAck => 11,
            Self::RequestSoundboardSounds => 31,
            Self::RequestChannelInfo => 43,
        }
    }

    /// The opcode with this number that a client may send, if there is one.
    pub fn from_client(number: u64) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|op| u64::from(op.number()) == number);
        known.filter(|op| op.is_from_client())
    }

    /// Whether clients send it.
    pub const fn is_from_client(self) -> bool {
        !matches!(
            self,
            Self::Dispatch | Self::Reconnect | Self::InvalidSession | Self::Hello | Self::HeartbeatAck
        )
    }

    /// Whether it is heard before there is a session.
    pub const fn needs_no_session(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Identify | Self::Resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_pinned() {
        let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 31, 43];
        assert_eq!(Opcode::ALL.map(Opcode::number), numbers);
        let from_client: Vec<_> = (0..1000).filter(|n| Opcode::from_client(*n).is_some()).collect();
        assert_eq!(from_client, [1, 2, 3, 4, 5, 6, 8, 31, 43]);
        let early: Vec<_> = Opcode::ALL.into_iter().filter(|op| op.needs_no_session()).collect();
        assert_eq!(early, [Opcode::Heartbeat, Opcode::Identify, Opcode::Resume]);
    }
}
