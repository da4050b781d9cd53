//! Intents: the kinds of events that a session requests.

use std::ops::BitOr;

/// A set of intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Intents(u64);

impl Intents {
    /// No intents.
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
    /// Voice states.
    pub const GUILD_VOICE_STATES: Self = Self(1 << 7);
    /// Presences. Privileged.
    pub const GUILD_PRESENCES: Self = Self(1 << 8);
    /// Messages in guilds.
    pub const GUILD_MESSAGES: Self = Self(1 << 9);
    /// Reactions to messages in guilds.
    pub const GUILD_MESSAGE_REACTIONS: Self = Self(1 << 10);
    /// Typing in guilds.
    pub const GUILD_MESSAGE_TYPING: Self = Self(1 << 11);
    /// Direct messages.
    pub const DIRECT_MESSAGES: Self = Self(1 << 12);
    /// Reactions to direct messages.
    pub const DIRECT_MESSAGE_REACTIONS: Self = Self(1 << 13);
    /// Typing in direct messages.
    pub const DIRECT_MESSAGE_TYPING: Self = Self(1 << 14);
    /// The content of messages in guilds. Privileged.
    pub const MESSAGE_CONTENT: Self = Self(1 << 15);
    /// Scheduled events.
    pub const GUILD_SCHEDULED_EVENTS: Self = Self(1 << 16);
    /// Auto moderation rules.
    pub const AUTO_MODERATION_CONFIGURATION: Self = Self(1 << 20);
    /// Actions that auto moderation rules executed.
    pub const AUTO_MODERATION_EXECUTION: Self = Self(1 << 21);
    /// Poll votes in guilds.
    pub const GUILD_MESSAGE_POLLS: Self = Self(1 << 24);
    /// Poll votes in direct messages.
    pub const DIRECT_MESSAGE_POLLS: Self = Self(1 << 25);

    /// The intents that an application must be allowed to use.
    pub const PRIVILEGED: Self = Self(Self::GUILD_MEMBERS.0 | Self::GUILD_PRESENCES.0 | Self::MESSAGE_CONTENT.0);
    /// All intents.
    pub const ALL: Self = Self(0b11_0011_0001_1111_1111_1111_1111);

    /// Every intent with its name in Discord's documentation.
    const NAMES: [(Self, &'static str); 21] = [
        (Self::GUILDS, "GUILDS"),
        (Self::GUILD_MEMBERS, "GUILD_MEMBERS"),
        (Self::GUILD_MODERATION, "GUILD_MODERATION"),
        (Self::GUILD_EXPRESSIONS, "GUILD_EXPRESSIONS"),
        (Self::GUILD_INTEGRATIONS, "GUILD_INTEGRATIONS"),
        (Self::GUILD_WEBHOOKS, "GUILD_WEBHOOKS"),
        (Self::GUILD_INVITES, "GUILD_INVITES"),
        (Self::GUILD_VOICE_STATES, "GUILD_VOICE_STATES"),
        (Self::GUILD_PRESENCES, "GUILD_PRESENCES"),
        (Self::GUILD_MESSAGES, "GUILD_MESSAGES"),
        (Self::GUILD_MESSAGE_REACTIONS, "GUILD_MESSAGE_REACTIONS"),
        (Self::GUILD_MESSAGE_TYPING, "GUILD_MESSAGE_TYPING"),
        (Self::DIRECT_MESSAGES, "DIRECT_MESSAGES"),
        (Self::DIRECT_MESSAGE_REACTIONS, "DIRECT_MESSAGE_REACTIONS"),
        (Self::DIRECT_MESSAGE_TYPING, "DIRECT_MESSAGE_TYPING"),
        (Self::MESSAGE_CONTENT, "MESSAGE_CONTENT"),
        (Self::GUILD_SCHEDULED_EVENTS, "GUILD_SCHEDULED_EVENTS"),
        (Self::AUTO_MODERATION_CONFIGURATION, "AUTO_MODERATION_CONFIGURATION"),
        (Self::AUTO_MODERATION_EXECUTION, "AUTO_MODERATION_EXECUTION"),
        (Self::GUILD_MESSAGE_POLLS, "GUILD_MESSAGE_POLLS"),
        (Self::DIRECT_MESSAGE_POLLS, "DIRECT_MESSAGE_POLLS"),
    ];

    /// Returns the names of the intents in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Self::NAMES.into_iter();
        named.filter_map(move |(intent, name)| self.contains(intent).then_some(name))
    }

    /// Returns the set with these bits, or `None` if one of them is not an intent.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Returns the set as a bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether all intents of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether any intent of `other` is in the set.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the intents that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the intents that are not in `other`.
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
    fn only_documented_bits_are_intents() {
        let table: Vec<u32> = (0..=16).chain([20, 21, 24, 25]).collect();
        for bit in 0..64 {
            assert_eq!(Intents::from_bits(1 << bit).is_some(), table.contains(&bit), "{bit}");
        }
        assert_eq!(Intents::from_bits(Intents::ALL.bits()), Some(Intents::ALL));
        assert_eq!(Intents::PRIVILEGED.bits(), 1 << 1 | 1 << 8 | 1 << 15);
    }

    #[test]
    fn every_intent_has_a_name() {
        let together = Intents::NAMES
            .into_iter()
            .fold(Intents::NONE, |set, (intent, _)| set | intent);
        assert_eq!(together, Intents::ALL);
        let some = Intents::GUILDS | Intents::GUILD_MESSAGES;
        assert_eq!(some.names().collect::<Vec<_>>(), ["GUILDS", "GUILD_MESSAGES"]);
    }
}
