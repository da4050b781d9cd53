//! Bots on discord.js and discord.py, which nobody changed, against a real node: what they are told, what they say to it,
//! and that a lost connection costs them nothing.
//!
//! Every event of a test is published once and heard once, in its order: a bot that heard the later one first would
//! have failed.

mod cluster;
mod ends;
mod guilds;
mod lives;
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

/// Milliseconds between heartbeats, so that a test sees several.
const HEARTBEAT_MS: u64 = 1000;

/// Shards may begin at once, and a key of the bot's own: discord.js takes `bot` from the front of a token for the word
/// in a header, dot or not.
const APPLICATION: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 16

[[keys]]
id = "scout"
type = "bot"
secret = "correct-horse-battery-staple-0123456789"

"#;

/// The most bytes of an event: more than a guild of some thousand members has.
const EVENT_BYTES: usize = 1_000_000;

fn setup() -> Setup {
    Setup::new()
        .file(&format!("{APPLICATION}{KEYS}"))
        .set("discord.heartbeat_interval_ms", HEARTBEAT_MS)
        .set("cluster.event_bytes", EVENT_BYTES)
        // A library asks for all members when it is ready, and a test once more.
        .set("discord.member_list_interval_ms", 0)
}

async fn node() -> NodeProcess {
    setup().start().await
}

fn start(library: Library, authority: impl Display, wish: BotOptions) -> Bot {
    Bot::start(library, authority, &key("scout"), wish)
}

/// Publishes the guild to a bot that is ready, and waits until it knows it.
async fn enters(bot: &mut Bot, node: &NodeProcess, guild: &TestGuild) {
    let event = guild.create();
    publish(node, &key("root"), &event).await;
    let created = bot.dispatch("GUILD_CREATE").await;
    assert_eq!(created["d"], event["d"]);
}

/// Publishes `MESSAGE_CREATE` to those that `to` names.
async fn message(node: &NodeProcess, to: Value, d: &Value) {
    let event = json!({ "t": "MESSAGE_CREATE", "to": to, "d": d });
    publish(node, &key("root"), &event).await;
}

/// Publishes the messages with these numbers in the guild.
async fn messages(node: &NodeProcess, guild: &TestGuild, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let d = guild.message(number, &format!("message {number}"));
        message(node, json!({ "guild": guild.id }), &d).await;
    }
}

/// The next message that the library tells of, on the wire and as it has understood it, has to be this one.
async fn hears(bot: &mut Bot, d: &Value) {
    let heard = bot.dispatch("MESSAGE_CREATE").await;
    assert_eq!(heard["d"], *d);
    if d["guild_id"].is_string() {
        let understood = bot.event("message").await;
        for (field, expected) in [
            ("id", &d["id"]),
            ("guild", &d["guild_id"]),
            ("channel", &d["channel_id"]),
            ("content", &d["content"]),
            ("author", &d["author"]["username"]),
        ] {
            assert_eq!(understood[field], *expected, "{field}");
        }
    }
}

/// The same for the messages with these numbers, whose dispatches come one after the other.
async fn hears_messages(bot: &mut Bot, guild: &TestGuild, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let heard = bot.dispatch("MESSAGE_CREATE").await;
        assert_eq!(heard["d"], guild.message(number, &format!("message {number}")));
    }
}

/// Asks something of an administrator about the session of this READY.
async fn order(node: &NodeProcess, ready: &Value, method: &str, what: &str) {
    let session = ready["session"].as_str().expect("the id of a session is a string");
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let target = format!("/api/v1/sessions/{session}{what}");
    let answer = request(node.address(), method, &target, &headers, "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
}
