//! Decides whether a session receives an event.

use super::{Header, Intents, Shard, Target};

/// The part of an Identify that decides which events a session receives. It never changes while the session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The intents that the session requested and may use.
    pub intents: Intents,
    /// The session's shard.
    pub shard: Shard,
    /// The id of the session's bot user.
    pub user: u64,
    /// Whether the session's protocol version withholds message content from sessions without the intent for it.
    pub withholds_content: bool,
}

/// Whether a session receives an event with its message content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// The event is sent as it was published.
    Whole,
    /// The event is sent without its message content.
    Withheld,
}

impl Filter {
    /// The version of the rules below. A session that was filtered by another version cannot be resumed.
    pub const VERSION: u8 = 2;

    /// Returns how the session with the id `session` receives an event, or `None` if it does not.
    pub fn admits(&self, header: &Header, session: u64) -> Option<Content> {
        match header.target {
            Target::Session(target) => (target == session).then(|| self.content(header)),
            _ => self.admits_any(header),
        }
    }

    /// Like [`admits`](Self::admits), for all sessions with this filter. Returns `None` for an event that is for a
    /// single session.
    pub fn admits_any(&self, header: &Header) -> Option<Content> {
        let is_for_shard = match header.target {
            Target::Session(_) | Target::Nobody => return None,
            Target::Shard(shard) => shard == self.shard,
            Target::User(user) => user == self.user && self.shard.has(header.guild),
            Target::All => self.shard.has(header.guild),
        };
        let wants = header.intents.is_empty()
            || self.intents.meets(header.intents)
            // Changes to its own membership reach a session whatever its intents.
            || (header.intents == Intents::GUILD_MEMBERS && header.subject == Some(self.user));
        (is_for_shard && wants).then(|| self.content(header))
    }

    fn content(&self, header: &Header) -> Content {
        let is_withheld = header.has_content
            && self.withholds_content
            && !self.intents.contains(Intents::MESSAGE_CONTENT)
            && header.subject != Some(self.user)
            && !header.mentions.contains(&self.user);
        if is_withheld { Content::Withheld } else { Content::Whole }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ME: u64 = 100;

    fn filter(intents: Intents) -> Filter {
        Filter {
            intents,
            shard: Shard::WHOLE,
            user: ME,
            withholds_content: true,
        }
    }

    fn header(name: &str, d: &Value) -> Header {
        Header::of(name, &d.to_string(), Target::All, None)
    }

    #[test]
    fn events_require_their_intents() {
        let rows = [
            ("GUILD_CREATE", Intents::GUILDS),
            ("GUILD_BAN_ADD", Intents::GUILD_MODERATION),
            ("GUILD_EMOJIS_UPDATE", Intents::GUILD_EXPRESSIONS),
            ("INTEGRATION_CREATE", Intents::GUILD_INTEGRATIONS),
            ("WEBHOOKS_UPDATE", Intents::GUILD_WEBHOOKS),
            ("INVITE_CREATE", Intents::GUILD_INVITES),
            ("VOICE_STATE_UPDATE", Intents::GUILD_VOICE_STATES),
            ("PRESENCE_UPDATE", Intents::GUILD_PRESENCES),
            ("MESSAGE_CREATE", Intents::GUILD_MESSAGES),
            ("MESSAGE_REACTION_ADD", Intents::GUILD_MESSAGE_REACTIONS),
            ("TYPING_START", Intents::GUILD_MESSAGE_TYPING),
            ("GUILD_SCHEDULED_EVENT_CREATE", Intents::GUILD_SCHEDULED_EVENTS),
            ("AUTO_MODERATION_RULE_CREATE", Intents::AUTO_MODERATION_CONFIGURATION),
            ("AUTO_MODERATION_ACTION_EXECUTION", Intents::AUTO_MODERATION_EXECUTION),
            ("MESSAGE_POLL_VOTE_ADD", Intents::GUILD_MESSAGE_POLLS),
            ("GUILD_MEMBER_ADD", Intents::GUILD_MEMBERS),
        ];
        for (name, intent) in rows {
            let event = header(name, &json!({"id": "1", "guild_id": "1"}));
            assert!(filter(intent).admits_any(&event).is_some(), "{name}");
            let others = Intents::ALL.without(intent);
            assert_eq!(filter(others).admits_any(&event), None, "{name}");
        }
        for name in ["INTERACTION_CREATE", "USER_UPDATE", "announce"] {
            let event = header(name, &json!({"guild_id": "1"}));
            assert!(filter(Intents::NONE).admits_any(&event).is_some(), "{name}");
        }
    }

    #[test]
    fn events_without_a_guild_require_direct_message_intents() {
        for (name, intent) in [
            ("MESSAGE_CREATE", Intents::DIRECT_MESSAGES),
            ("MESSAGE_REACTION_ADD", Intents::DIRECT_MESSAGE_REACTIONS),
            ("TYPING_START", Intents::DIRECT_MESSAGE_TYPING),
            ("MESSAGE_POLL_VOTE_ADD", Intents::DIRECT_MESSAGE_POLLS),
            ("CHANNEL_PINS_UPDATE", Intents::DIRECT_MESSAGES),
        ] {
            let event = header(name, &json!({"channel_id": "1"}));
            assert_eq!(filter(intent).admits_any(&event), Some(Content::Whole), "{name}");
            assert_eq!(filter(Intents::ALL.without(intent)).admits_any(&event), None, "{name}");
        }
    }

    #[test]
    fn content_is_withheld_from_sessions_without_the_intent() {
        let message = |author: u64, mentions: Value| {
            header(
                "MESSAGE_CREATE",
                &json!({"guild_id": "1", "author": {"id": author.to_string()}, "mentions": mentions}),
            )
        };
        let reader = filter(Intents::GUILD_MESSAGES | Intents::MESSAGE_CONTENT);
        let other = filter(Intents::GUILD_MESSAGES);
        let stranger = message(1, json!([]));
        assert_eq!(reader.admits_any(&stranger), Some(Content::Whole));
        assert_eq!(other.admits_any(&stranger), Some(Content::Withheld));
        assert_eq!(other.admits_any(&message(ME, json!([]))), Some(Content::Whole));
        let mentioned = message(1, json!([{"id": ME.to_string()}]));
        assert_eq!(other.admits_any(&mentioned), Some(Content::Whole));
        let older = Filter {
            withholds_content: false,
            ..other
        };
        assert_eq!(older.admits_any(&stranger), Some(Content::Whole));
    }

    #[test]
    fn a_session_always_receives_its_own_membership_updates() {
        let update = |user: u64| header("GUILD_MEMBER_UPDATE", &json!({"guild_id": "1", "user": {"id": user}}));
        assert!(filter(Intents::NONE).admits_any(&update(ME)).is_some());
        assert_eq!(filter(Intents::NONE).admits_any(&update(1)), None);
    }

    #[test]
    fn shards_and_targets_select_sessions() {
        let of = |id, count| Filter {
            shard: Shard { id, count },
            ..filter(Intents::ALL)
        };
        let event = |target, guild| Header::of("X", "{}", target, guild);
        let in_guild = event(Target::All, Some(1 << 22));
        assert!(of(1, 2).admits_any(&in_guild).is_some() && of(0, 2).admits_any(&in_guild).is_none());
        let global = event(Target::All, None);
        assert!(of(0, 2).admits_any(&global).is_some() && of(1, 2).admits_any(&global).is_none());
        let one = event(Target::Session(7), Some(1 << 22));
        assert!(of(0, 2).admits(&one, 7).is_some());
        assert!(of(1, 2).admits(&one, 8).is_none() && of(1, 2).admits_any(&one).is_none());
        let shard = event(Target::Shard(Shard { id: 1, count: 2 }), None);
        assert!(of(1, 2).admits_any(&shard).is_some());
        assert!(of(0, 2).admits_any(&shard).is_none() && of(1, 4).admits_any(&shard).is_none());
        assert!(of(0, 1).admits(&event(Target::Nobody, Some(1 << 22)), 7).is_none());
        let user = |user| event(Target::User(user), None);
        assert!(of(0, 1).admits_any(&user(ME)).is_some() && of(0, 1).admits_any(&user(1)).is_none());
    }
}
