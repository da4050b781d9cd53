//! A guild and the events about it that an operator publishes, with all fields that libraries read.

use serde_json::{Value, json};

/// An id's bits above this one decide its shard.
const SHARD_SHIFT: u32 = 22;

/// The number in the ids of guild 0.
const FIRST: u64 = 100_000;

/// A guild with one text channel.
#[derive(Debug, Clone)]
pub struct TestGuild {
    /// The guild's id.
    pub id: String,
    /// The id of the guild's only channel.
    pub channel: String,
    /// The guild's name.
    pub name: String,
    /// The number of members.
    pub members: u64,
}

impl TestGuild {
    /// Creates the guild with this number, which decides its shard: of two shards, guild 1 is in the second.
    pub fn new(number: u64, members: u64) -> Self {
        let id = (FIRST + number) << SHARD_SHIFT;
        Self {
            id: id.to_string(),
            channel: (id + 1).to_string(),
            name: format!("Guild {number}"),
            members,
        }
    }

    /// Returns `GUILD_CREATE`, addressed to every session that has the guild.
    pub fn create(&self) -> Value {
        json!({ "t": "GUILD_CREATE", "to": { "guild": self.id }, "d": self.whole() })
    }

    /// Returns the guild with everything in it.
    pub fn whole(&self) -> Value {
        let members: Vec<Value> = (0..self.members).map(|number| self.member(number)).collect();
        json!({
            "id": self.id,
            "name": self.name,
            "owner_id": self.user(0)["id"],
            "joined_at": "2026-01-31T12:00:00.000000+00:00",
            "unavailable": false,
            "large": false,
            "member_count": self.members,
            "members": members,
            "channels": [self.text_channel()],
            "roles": [self.everyone()],
            "features": [],
            "emojis": [],
            "stickers": [],
            "threads": [],
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "icon": null,
            "splash": null,
            "description": null,
            "preferred_locale": "en-US",
            "afk_channel_id": null,
            "afk_timeout": 300,
            "system_channel_id": null,
            "system_channel_flags": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "verification_level": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "vanity_url_code": null,
        })
    }

    fn text_channel(&self) -> Value {
        json!({
            "id": self.channel,
            "type": 0,
            "name": "general",
            "topic": null,
            "position": 0,
            "nsfw": false,
            "parent_id": null,
            "last_message_id": null,
            "rate_limit_per_user": 0,
            "permission_overwrites": [],
            "flags": 0,
        })
    }

    fn everyone(&self) -> Value {
        json!({
            "id": self.id,
            "name": "@everyone",
            "permissions": "104324673",
            "position": 0,
            "color": 0,
            "colors": { "primary_color": 0, "secondary_color": null, "tertiary_color": null },
            "hoist": false,
            "managed": false,
            "mentionable": false,
            "icon": null,
            "unicode_emoji": null,
            "flags": 0,
        })
    }

    /// Returns the data of `MESSAGE_CREATE`, for the `number`th message, written by the owner. `content` can be any
    /// text.
    pub fn message(&self, number: u64, content: &str) -> Value {
        let mut message = private_message(number, content);
        message["guild_id"] = json!(self.id);
        message["channel_id"] = json!(self.channel);
        message["channel_type"] = json!(0);
        message["author"] = self.user(0);
        let mut member = self.member(0);
        member.as_object_mut().expect("a member is an object").remove("user");
        message["member"] = member;
        message
    }

    /// Returns the name of a member's user.
    pub fn member_name(&self, number: u64) -> String {
        format!("member-{number:04}-of-{}", self.id)
    }

    /// Returns `GUILD_MEMBER_ADD` for a bot with this id.
    pub fn welcome(&self, id: &str) -> Value {
        let mut d = self.member(0);
        d["guild_id"] = json!(self.id);
        d["user"] = user(id.parse().expect("an id is a number"), "a bot");
        d["user"]["bot"] = json!(true);
        json!({ "t": "GUILD_MEMBER_ADD", "to": { "guild": self.id }, "d": d })
    }

    fn user(&self, number: u64) -> Value {
        let id: u64 = self.id.parse().expect("an id is a number");
        user(id + 1000 + number, &self.member_name(number))
    }

    fn member(&self, number: u64) -> Value {
        json!({
            "user": self.user(number),
            "nick": null,
            "avatar": null,
            "banner": null,
            "roles": [],
            "joined_at": "2026-01-31T12:00:00.000000+00:00",
            "premium_since": null,
            "communication_disabled_until": null,
            "deaf": false,
            "mute": false,
            "pending": false,
            "flags": 0,
        })
    }
}

/// Returns the data of `MESSAGE_CREATE` in a channel outside guilds.
pub fn private_message(number: u64, content: &str) -> Value {
    json!({
        "id": ((FIRST + number) << SHARD_SHIFT).to_string(),
        "channel_id": ((FIRST - 1) << SHARD_SHIFT).to_string(),
        "channel_type": 1,
        "type": 0,
        "author": user((FIRST - 2) << SHARD_SHIFT, "somebody"),
        "content": content,
        "timestamp": "2026-01-31T12:00:00.000000+00:00",
        "edited_timestamp": null,
        "tts": false,
        "mention_everyone": false,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "pinned": false,
        "flags": 0,
    })
}

fn user(id: u64, name: &str) -> Value {
    json!({
        "id": id.to_string(),
        "username": name,
        "global_name": null,
        "discriminator": "0",
        "avatar": null,
        "bot": false,
        "public_flags": 0,
    })
}
