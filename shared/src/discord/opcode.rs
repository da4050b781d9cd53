//! The catalogue of opcodes.

/// The type of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0: an event, with its sequence number in the session.
    Dispatch,
    /// 1: from a client, that it is alive and which dispatch it received last; from the gateway, a request for a
    /// heartbeat.
    Heartbeat,
    /// 2: starts a new session.
    Identify,
    /// 3: changes the client's presence.
    PresenceUpdate,
    /// 4: joins, changes or leaves a voice channel.
    VoiceStateUpdate,
    /// 5: accepted and ignored.
    VoiceServerPing,
    /// 6: resumes a session.
    Resume,
    /// 7: asks the client to reconnect and resume.
    Reconnect,
    /// 8: requests members of a guild.
    RequestGuildMembers,
    /// 9: the session does not exist, or cannot be resumed now.
    InvalidSession,
    /// 10: the first payload, with the heartbeat interval.
    Hello,
    /// 11: acknowledges a heartbeat.
    HeartbeatAck,
    /// 31: requests the soundboard sounds of guilds.
    RequestSoundboardSounds,
    /// 43: requests the voice status and start time of a guild's channels.
    RequestChannelInfo,
}

impl Opcode {
    /// All opcodes, in the order of the protocol's table.
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

    /// Returns the number on the wire.
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

    /// Returns the opcode with this number if clients may send it.
    pub fn from_client(number: u64) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|op| u64::from(op.number()) == number);
        known.filter(|op| op.is_from_client())
    }

    /// Returns whether clients may send it.
    pub const fn is_from_client(self) -> bool {
        !matches!(
            self,
            Self::Dispatch | Self::Reconnect | Self::InvalidSession | Self::Hello | Self::HeartbeatAck
        )
    }

    /// Returns whether it is accepted before there is a session.
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
