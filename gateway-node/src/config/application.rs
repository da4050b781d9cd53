//! The applications that share a cluster without seeing each other.

use serde::{Deserialize, Serialize};

use super::{
    setting::{section, setting},
    snowflake::Snowflake,
    words::{is_application_id, is_discriminator, is_image_hash, is_username},
};

/// The application of a key that names none. It needs no entry in the configuration.
pub const DEFAULT_APPLICATION: &str = "utilbot";

/// An intent of Discord's protocol that an application must be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivilegedIntent {
    /// Members joining, changing and leaving, and full member lists.
    GuildMembers,
    /// Presences, which show who is online.
    GuildPresences,
    /// The content of messages.
    MessageContent,
}

impl PrivilegedIntent {
    /// Every privileged intent.
    pub const ALL: [Self; 3] = [Self::GuildMembers, Self::GuildPresences, Self::MessageContent];

    /// Returns the intent's bit in the `intents` of an Identify.
    pub const fn bit(self) -> u64 {
        match self {
            Self::GuildMembers => 1 << 1,
            Self::GuildPresences => 1 << 8,
            Self::MessageContent => 1 << 15,
        }
    }

    /// Returns the application flag that tells libraries that the intent may be used: the flag of an unverified
    /// application, `GATEWAY_…_LIMITED`.
    pub const fn application_flag(self) -> u64 {
        match self {
            Self::GuildMembers => 1 << 15,
            Self::GuildPresences => 1 << 13,
            Self::MessageContent => 1 << 19,
        }
    }
}

setting! { Vec<PrivilegedIntent>: List, "a list of guild_members, guild_presences, message_content"; }

section! {
    /// One `[[applications]]` entry: an application with its own log, clients and counts. Every field but `id` is for
    /// Discord's protocol.
    pub struct ApplicationSettings {
        /// The application's id.
        id: String, check is_application_id, expect "1 to 64 of a-z 0-9 _ -";
        /// The application's id in Discord's protocol. If unset, a number derived from `id`, identical on every node.
        client_id: Option<Snowflake> = None;
        /// The id of the bot user, if it differs from `client_id`.
        bot_id: Option<Snowflake> = None;
        /// The name of the bot user, if it differs from `id`.
        bot_username: Option<String> = None, check is_username,
            expect "1 to 64 characters, none of them a control character";
        /// The discriminator of the bot user: four digits, or `0`.
        bot_discriminator: String = "0000".to_owned(), check is_discriminator, expect "four digits, or 0";
        /// The hash of the bot user's avatar.
        bot_avatar: Option<String> = None, check is_image_hash,
            expect "32 lower-case hexadecimal digits, after a_ if the image is animated";
        /// Flags of the application, in addition to those for its privileged intents.
        flags: u64 = 0, to 9_007_199_254_740_991;
        /// The privileged intents that bots may request: `guild_members`, `guild_presences`, `message_content`.
        /// Requesting any other closes with 4014.
        privileged_intents: Vec<PrivilegedIntent> = PrivilegedIntent::ALL.to_vec();
        /// Number of shards that bots are advised to run.
        shards: u32 = 1, from 1, to 65_535;
        /// Number of shards that may identify within the same five seconds.
        max_concurrency: u32 = 1, from 1, to 65_535;
        /// Number of sessions that the application's bot may start per day.
        session_starts_per_day: u32 = 1000, from 1;
        /// Number of guilds that one session may have. More closes with 4011.
        guilds_per_session: usize = 2500, from 1;
    }
}

impl From<&str> for ApplicationSettings {
    fn from(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }
}
