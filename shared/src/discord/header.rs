//! The part of an event that decides who receives it: read once, when the event is published, and stored beside it in
//! the log.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{GuildChange, Intents, Shard, intent_table::intents_of, snowflake};
use crate::fields::fields;

/// What an event itself says about its receivers. Whether a session receives the event depends only on this and on what
/// the session identified with, so reading the log again gives the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The intents of which a session needs at least one. Empty if it needs none.
    pub(super) intents: Intents,
    /// The guild that the event belongs to.
    pub guild: Option<u64>,
    /// The user that the event is about: the author of a message, or the member that changed.
    pub subject: Option<u64>,
    /// The users that a message mentions.
    pub mentions: Box<[u64]>,
    /// The sessions that the event is for.
    pub target: Target,
    /// Whether sessions need an intent to receive its message content.
    pub(super) has_content: bool,
}

/// The sessions that an event is for, in addition to the selection by intents and shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// All sessions of the application.
    #[default]
    All,
    /// The sessions of this bot user.
    User(u64),
    /// Only this session.
    Session(u64),
    /// The sessions with exactly this shard.
    Shard(Shard),
    /// No session: the event only changes the state of a guild.
    Nobody,
}

/// The error for an invalid `to` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`to` must be \"all\", {{\"guild\": id}}, {{\"user\": id}}, {{\"session\": id}} or {{\"shard\": [id, count]}}")]
pub struct TargetError;

impl Target {
    /// Parses `to` of an event. Returns the target, and the guild if `to` names one.
    ///
    /// # Errors
    /// If `to` has none of the valid forms.
    pub fn parse(to: &Value) -> Result<(Self, Option<u64>), TargetError> {
        if to.as_str() == Some("all") {
            return Ok((Self::All, None));
        }
        let mut fields = to.as_object().ok_or(TargetError)?.iter();
        let (Some((name, value)), None) = (fields.next(), fields.next()) else {
            return Err(TargetError);
        };
        let target = match name.as_str() {
            "guild" => return Ok((Self::All, Some(snowflake(value).ok_or(TargetError)?))),
            "user" => snowflake(value).map(Self::User),
            "session" => snowflake(value).map(Self::Session),
            "shard" => Shard::from_json(value).map(Self::Shard),
            _ => None,
        };
        Ok((target.ok_or(TargetError)?, None))
    }
}

impl Header {
    /// Creates the header of the event `name` with the data `d`. `guild` is the guild that the publisher named; if it
    /// named none, the guild is taken from the data.
    pub fn of(name: &str, d: &str, target: Target, guild: Option<u64>) -> Self {
        let names = ["guild_id", "id", "author", "mentions", "user"];
        let [guild_id, id, author, mentions, user] = fields(d, names).unwrap_or_default();
        let is_guild = matches!(name, "GUILD_CREATE" | "GUILD_UPDATE" | "GUILD_DELETE");
        let own = if is_guild { id.or(guild_id) } else { guild_id };
        let guild = guild.or_else(|| own.and_then(raw_snowflake));
        let subject = match name {
            "MESSAGE_CREATE" | "MESSAGE_UPDATE" => author.and_then(id_of),
            "GUILD_MEMBER_UPDATE" => user.and_then(id_of),
            _ => None,
        };
        let mentions = match (name, mentions) {
            ("MESSAGE_CREATE" | "MESSAGE_UPDATE", Some(mentions)) => {
                serde_json::from_str(mentions.get()).map_or_else(|_| Box::default(), |Ids(ids)| ids.into())
            }
            _ => Box::default(),
        };
        Self::from_parts(name, guild, subject, mentions, target)
    }

    /// Returns the session that the event is for, if it is for a single one.
    pub const fn session(&self) -> Option<u64> {
        match self.target {
            Target::Session(session) => Some(session),
            _ => None,
        }
    }

    /// Returns how the event `name` with this data changes a guild, and the id of that guild. Only events for all
    /// sessions or for none change a guild, and only if their data is an object.
    pub fn change(&self, name: &str, d: &str) -> Option<(GuildChange, u64)> {
        match self.target {
            Target::All | Target::Nobody if d.starts_with('{') => Some((GuildChange::of(name)?, self.guild?)),
            _ => None,
        }
    }

    /// Recreates the header of the event `name` from its stored parts.
    pub fn from_parts(
        name: &str,
        guild: Option<u64>,
        subject: Option<u64>,
        mentions: Box<[u64]>,
        target: Target,
    ) -> Self {
        Self {
            intents: intents_of(name, guild.is_some()),
            has_content: guild.is_some() && matches!(name, "MESSAGE_CREATE" | "MESSAGE_UPDATE"),
            guild,
            subject,
            mentions,
            target,
        }
    }
}

fn raw_snowflake(value: &RawValue) -> Option<u64> {
    snowflake(&serde_json::from_str(value.get()).ok()?)
}

fn id_of(user: &RawValue) -> Option<u64> {
    let [id] = fields(user.get(), ["id"])?;
    id.and_then(raw_snowflake)
}

/// The ids of a list of users.
struct Ids(Vec<u64>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Ids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of users")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
                let mut ids = Vec::new();
                while let Some(user) = list.next_element::<&RawValue>()? {
                    ids.extend(id_of(user));
                }
                Ok(Ids(ids))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Ids(Vec::new()))
            }
        }

        deserializer.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header(name: &str, d: &Value) -> Header {
        Header::of(name, &d.to_string(), Target::All, None)
    }

    #[test]
    fn a_message_header_has_guild_author_and_mentions() {
        let d = json!({
            "guild_id": "7", "author": {"id": "1", "username": "a"}, "mentions": [{"id": 2}, {"id": "3"}, {"x": 1}],
            "content": "x",
        });
        let message = header("MESSAGE_CREATE", &d);
        assert_eq!((message.guild, message.subject), (Some(7), Some(1)));
        assert_eq!(&*message.mentions, [2, 3]);
        assert_eq!(message.intents, Intents::GUILD_MESSAGES);
        let direct = header("MESSAGE_CREATE", &json!({"author": {"id": 1}, "mentions": 1}));
        assert_eq!((direct.guild, &*direct.mentions), (None, &[][..]));
        assert_eq!(direct.intents, Intents::DIRECT_MESSAGES);
        assert!(message.has_content && !direct.has_content);
    }

    #[test]
    fn guild_events_belong_to_their_own_guild() {
        assert_eq!(header("GUILD_CREATE", &json!({"id": "9"})).guild, Some(9));
        assert_eq!(
            header("CHANNEL_CREATE", &json!({"id": "9", "guild_id": "8"})).guild,
            Some(8)
        );
        let named = Header::of("ANYTHING", "{\"guild_id\":\"8\"}", Target::All, Some(5));
        assert_eq!(named.guild, Some(5));
    }

    #[test]
    fn unexpected_data_has_no_guild_subject_or_mentions() {
        for d in [
            "{}",
            "[]",
            "1",
            "{\"guild_id\":[]}",
            "{\"mentions\":{\"a\":1},\"author\":7}",
        ] {
            let strange = Header::of("MESSAGE_CREATE", d, Target::All, None);
            assert_eq!(
                (strange.guild, strange.subject, strange.mentions.len()),
                (None, None, 0),
                "{d}"
            );
        }
    }

    #[test]
    fn targets_are_parsed() {
        let parse = |to: Value| Target::parse(&to);
        assert_eq!(parse(json!("all")), Ok((Target::All, None)));
        assert_eq!(parse(json!({"guild": "5"})), Ok((Target::All, Some(5))));
        assert_eq!(parse(json!({"user": 5})), Ok((Target::User(5), None)));
        assert_eq!(parse(json!({"session": "5"})), Ok((Target::Session(5), None)));
        let shard = Shard { id: 1, count: 2 };
        assert_eq!(parse(json!({"shard": [1, 2]})), Ok((Target::Shard(shard), None)));
        for wrong in [
            json!("some"),
            json!({}),
            json!({"guild": "x"}),
            json!({"guild": 1, "user": 1}),
            json!({"shard": [2, 2]}),
            json!(["all"]),
            json!({"planet": 1}),
        ] {
            assert_eq!(parse(wrong.clone()), Err(TargetError), "{wrong}");
        }
    }
}
