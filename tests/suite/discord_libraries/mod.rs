//! Bots on unmodified discord.js and discord.py against a real node: what they receive, what they send, and that a lost
//! connection loses no event.
//!
//! Every event of a test is published once, and must be received once and in order.

mod cluster;
mod compression;
mod ends;
mod guilds;
mod presences;
mod resumes;
mod shards;

use std::fmt::Display;

use gateway_harness::{
    KEYS, NodeProcess, Setup,
    discord::{
        Bot, BotOptions,
        Library::{self, DiscordJs, DiscordPy},
        TestGuild,
    },
    key, publish, request,
};
use serde_json::{Value, json};

/// The heartbeat interval in milliseconds, short enough for several heartbeats in a test.
const HEARTBEAT_MS: u64 = 1000;

/// An application whose shards may start concurrently, with a key of its own for the bot: discord.js strips a leading
/// `bot` from a token, as if it were the prefix of the `Authorization` header.
const APPLICATION: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 16

[[keys]]
id = "scout"
type = "bot"
secret = "correct-horse-battery-staple-0123456789"

"#;

/// The maximum size of an event in bytes: more than a guild with some thousand members needs.
const EVENT_BYTES: usize = 1_000_000;

fn setup() -> Setup {
    Setup::new()
        .file(&format!("{APPLICATION}{KEYS}"))
        .set("discord.heartbeat_interval_ms", HEARTBEAT_MS)
        .set("cluster.event_bytes", EVENT_BYTES)
        // A library requests all members before it is ready, and a test requests them again.
        .set("discord.member_list_interval_ms", 0)
}

async fn node() -> NodeProcess {
    setup().start().await
}

fn start(library: Library, authority: impl Display, wish: BotOptions) -> Bot {
    Bot::start(library, authority, &key("scout"), wish)
}

/// Publishes a guild and waits until the bot has received it.
async fn publish_guild(bot: &mut Bot, node: &NodeProcess, guild: &TestGuild) {
    let event = guild.create();
    publish(node, &key("root"), &event).await;
    let created = bot.dispatch("GUILD_CREATE").await;
    assert_eq!(created["d"], event["d"]);
}

/// Publishes `MESSAGE_CREATE` with the target `to`.
async fn publish_message(node: &NodeProcess, to: Value, d: &Value) {
    let event = json!({ "t": "MESSAGE_CREATE", "to": to, "d": d });
    publish(node, &key("root"), &event).await;
}

/// Publishes messages with these numbers in the guild.
async fn publish_messages(node: &NodeProcess, guild: &TestGuild, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let d = guild.message(number, &format!("message {number}"));
        publish_message(node, json!({ "guild": guild.id }), &d).await;
    }
}

/// Expects this message next: as a dispatch, and for a guild also as the library emits it.
async fn expect_message(bot: &mut Bot, d: &Value) {
    let received = bot.dispatch("MESSAGE_CREATE").await;
    assert_eq!(received["d"], *d);
    if d["guild_id"].is_string() {
        let emitted = bot.event("message").await;
        for (field, expected) in [
            ("id", &d["id"]),
            ("guild", &d["guild_id"]),
            ("channel", &d["channel_id"]),
            ("content", &d["content"]),
            ("author", &d["author"]["username"]),
        ] {
            assert_eq!(emitted[field], *expected, "{field}");
        }
    }
}

/// Expects dispatches of the messages with these numbers, in order.
async fn expect_messages(bot: &mut Bot, guild: &TestGuild, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let received = bot.dispatch("MESSAGE_CREATE").await;
        assert_eq!(received["d"], guild.message(number, &format!("message {number}")));
    }
}

/// Sends an administrator's request about the session of this READY.
async fn command(node: &NodeProcess, ready: &Value, method: &str, what: &str) {
    let session = ready["session"].as_str().expect("the session id is a string");
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let target = format!("/api/v1/sessions/{session}{what}");
    let answer = request(node.address(), method, &target, &headers, "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
}
