//! The events of a run: how the nodes' event table defines them, and who receives each.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::checker::{ClientKind, Reach, Recipients};

/// The configuration of the nodes: the application and the event table.
pub(super) const TABLE: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 1000

[[events]]
name = "announce"
from = ["bot", "website", "service"]
to = ["bot", "website", "service", "discord"]

[[events]]
name = "site_only"
from = ["website"]
to = ["website"]

[[events]]
name = "job"
from = ["website", "service", "bot"]
to = ["bot"]
deliver = "any"

[[events]]
name = "guild_settings_changed"
from = ["website", "service", "bot"]
to = ["bot"]
deliver = { guild = "/guildId" }

[[events]]
name = "guild_news"
from = ["service"]
to = ["website"]
deliver = { guild = "/guildId" }
require_receiver = false
"#;

/// The types that receive `announce`; the run has clients of two of them.
const ALL_TYPES: &[ClientKind] = &[ClientKind::Bot, ClientKind::Website, ClientKind::Service];
/// The types that receive `site_only`.
const WEBSITES: &[ClientKind] = &[ClientKind::Website];
/// The types of which one session receives each `job`.
const WORKERS: &[ClientKind] = &[ClientKind::Bot];
/// The types that receive an event for Discord sessions only: none.
const NO_TYPES: &[ClientKind] = &[];

/// The guilds that bots report, that websites watch, and that events are sent for.
pub(super) const GUILDS: std::ops::RangeInclusive<u64> = 1..=6;
/// The number of shards of the application, besides the session that has all guilds.
pub(super) const SHARDS: u32 = 2;

/// An event that is about to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventDraft {
    pub(super) name: &'static str,
    pub(super) recipients: Recipients,
    pub(super) reach: Reach,
    /// The `to` field in which the publisher names the Discord sessions.
    to: Option<Value>,
}

impl EventDraft {
    /// Draws an event for a publisher.
    pub(super) fn from_http(rng: &mut Rng) -> Self {
        let guild = shard_guild(rng);
        let draft = |name, recipients, reach, to| Self {
            name,
            recipients,
            reach,
            to,
        };
        let (all, one, none) = (
            Recipients::All(ALL_TYPES),
            Recipients::Any(WORKERS),
            Recipients::All(NO_TYPES),
        );
        match rng.u8(..14) {
            0..=1 => draft("job", one, Reach::Nobody, None),
            2..=3 => {
                let recipients = Recipients::Guild(rng.u64(GUILDS));
                draft("guild_settings_changed", recipients, Reach::Nobody, None)
            }
            12..=13 => {
                let recipients = Recipients::Watchers(rng.u64(GUILDS));
                draft("guild_news", recipients, Reach::Nobody, None)
            }
            // These name their guild in their data; the next ones name it in `to`.
            4..=6 => draft("announce", all, Reach::Guild(guild), None),
            7..=8 => {
                let to = json!({ "guild": guild.to_string() });
                draft("announce", all, Reach::Guild(guild), Some(to))
            }
            9..=10 => draft("MESSAGE_CREATE", none, Reach::Message(guild), Some(json!("all"))),
            _ => {
                let shard = [rng.u32(..SHARDS), SHARDS];
                draft("CHANGED", none, Reach::Shard(shard), Some(json!({ "shard": shard })))
            }
        }
    }

    /// Draws an event for a website.
    pub(super) fn from_website(rng: &mut Rng) -> Self {
        let (name, kinds, reach) = if rng.u8(..4) == 0 {
            ("site_only", WEBSITES, Reach::Nobody)
        } else {
            ("announce", ALL_TYPES, Reach::Guild(shard_guild(rng)))
        };
        Self {
            name,
            recipients: Recipients::All(kinds),
            reach,
            to: None,
        }
    }

    /// Returns the event's data, as event `n` of this sender.
    pub(super) fn d(&self, sender: usize, n: u64) -> Value {
        let mut d = json!({ "sender": sender, "n": n });
        if let Recipients::Guild(guild) | Recipients::Watchers(guild) = self.recipients {
            d["guildId"] = json!(guild.to_string());
        }
        if let Reach::Guild(guild) | Reach::Message(guild) = self.reach {
            d["guild_id"] = json!(guild.to_string());
        }
        d
    }

    /// Returns the body of the HTTP request.
    pub(super) fn request(&self, d: &Value) -> Value {
        let mut event = json!({ "t": self.name, "d": d });
        if let Some(to) = &self.to {
            event["to"] = to.clone();
        }
        event
    }
}

/// Returns a guild of a random shard.
fn shard_guild(rng: &mut Rng) -> u64 {
    u64::from(rng.u32(..SHARDS)) << 22
}
