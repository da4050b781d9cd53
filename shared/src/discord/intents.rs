//! Intents: which kinds of events a session wants.

use std::ops::BitOr;

/// A set of intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Intents(u64);

impl Intents {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Guilds, channels, roles, threads and stages.
    pub const GUILDS: Self = Self(1);
    /// Members. Privileged.
    pub const GUILD_MEMBERS: Self = Self(1 << 1);
    /// Bans and the audit log.
    pub const GUILD_MODERATION: Self = Self(1 << 2);
    /// Emojis, stickers and soundboard sounds.
    pub const GUILD_EXPRESSIONS: Self = Self(1 << 3);
    /// Integrations.
    pub const GUILD_INTEGRATIONS: Self = Self(1 << 4);
    /// Webhooks.
    pub const GUILD_WEBHOOKS: Self = Self(1 << 5);
    /// Invites.
    pub const GUILD_INVITES: Self = Self(1 << 6);
    /// Who is in which voice channel.
    pub const GUILD_VOICE_STATES: Self = Self(1 << 7);
    /// Presences. Privileged.
    pub const GUILD_PRESENCES: Self = Self(1 << 8);
    /// Messages in guilds.
    pub const GUILD_MESSAGES: Self = Self(1 << 9);
    /// Reactions to them.
    pub const GUILD_MESSAGE_REACTIONS: Self = Self(1 << 10);
    /// Who is typing there.
    pub const GUILD_MESSAGE_TYPING: Self = Self(1 << 11);
    /// Direct messages.
    pub const DIRECT_MESSAGES: Self = Self(1 << 12);
    /// Reactions to them.
    pub const DIRECT_MESSAGE_REACTIONS: Self = Self(1 << 13);
    /// Who is typing there.
    pub const DIRECT_MESSAGE_TYPING: Self = Self(1 << 14);
    /// What messages in guilds say. Privileged.
    pub const MESSAGE_CONTENT: Self = Self(1 << 15);
    /// Scheduled events.
    pub const GUILD_SCHEDULED_EVENTS: Self = Self(1 << 16);
    /// Rules of moderation.
    pub const AUTO_MODERATION_CONFIGURATION: Self = Self(1 << 20);
    /// What they did.
    pub const AUTO_MODERATION_EXECUTION: Self = Self(1 << 21);
    /// Votes in guilds.
    pub const GUILD_MESSAGE_POLLS: Self = Self(1 << 24);
    /// Votes in direct messages.
    pub const DIRECT_MESSAGE_POLLS: Self = Self(1 << 25);

    /// Those that an application has to be allowed to use.
    pub const PRIVILEGED: Self = Self(Self::GUILD_MEMBERS.0 | Self::GUILD_PRESENCES.0 | Self::MESSAGE_CONTENT.0);
    /// Every intent there is.
    pub const ALL: Self = Self(0b11_0011_0001_1111_1111_1111_1111);

    /// The set that is this number, if every bit of it is an intent.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The set as a number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Intents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_table_is_an_intent_and_no_other() {
        let table: Vec<u32> = (0..=16).chain([20, 21, 24, 25]).collect();
        for bit in 0..64 {
            assert_eq!(Intents::from_bits(1 << bit).is_some(), table.contains(&bit), "{bit}");
        }
        assert_eq!(Intents::from_bits(Intents::ALL.bits()), Some(Intents::ALL));
        assert_eq!(Intents::PRIVILEGED.bits(), 1 << 1 | 1 << 8 | 1 << 15);
    }
}
