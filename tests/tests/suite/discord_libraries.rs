//! Bots on discord.js and discord.py, which nobody changed, against a real node: what they are told, what they say to it,
//! and that a lost connection costs them nothing.
//!
//! Every event of a test is published once and heard once, in its order: a bot that heard the later one first would
//! have failed.

use std::fmt::Display;

use gateway_tests::{
    KEYS, Node, Proxy, Setup,
    discord::{Bot, Guild, Library, Wish, private_message},
    key, publish, request,
};
use serde_json::{Value, json};

use Library::{DiscordJs, DiscordPy};

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

/// More than a block of DEFLATE or a window of a WebSocket's 16 bits of length holds.
const LONG: usize = 70_000;

async fn node() -> Node {
    Setup::new()
        .file(&format!("{APPLICATION}{KEYS}"))
        .set("discord.heartbeat_interval_ms", HEARTBEAT_MS)
        .set("cluster.event_bytes", 2 * LONG)
        .start()
        .await
}

fn start(library: Library, authority: impl Display, wish: Wish) -> Bot {
    Bot::start(library, authority, &key("scout"), wish)
}

/// Publishes the guild to a bot that is ready, and waits until it knows it.
async fn enters(bot: &mut Bot, node: &Node, guild: &Guild) {
    let event = guild.create();
    publish(node, &key("root"), &event).await;
    let created = bot.dispatch("GUILD_CREATE").await;
    assert_eq!(created["d"], event["d"]);
}

/// Publishes `MESSAGE_CREATE` to those that `to` names.
async fn message(node: &Node, to: Value, d: &Value) {
    let event = json!({ "t": "MESSAGE_CREATE", "to": to, "d": d });
    publish(node, &key("root"), &event).await;
}

/// Publishes the messages with these numbers in the guild.
async fn messages(node: &Node, guild: &Guild, numbers: impl IntoIterator<Item = u64>) {
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
async fn hears_messages(bot: &mut Bot, guild: &Guild, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let heard = bot.dispatch("MESSAGE_CREATE").await;
        assert_eq!(heard["d"], guild.message(number, &format!("message {number}")));
    }
}

/// A bot goes from its login over events of every kind to its goodbye on one connection.
async fn lives(library: Library, wish: Wish) {
    let node = node().await;
    let guild = Guild::new(0, 60);
    let mut bot = start(library, node.address(), wish);
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;

    let targets = [
        json!("all"),
        json!({ "guild": guild.id }),
        json!({ "user": ready["user"] }),
        json!({ "session": ready["session"] }),
        json!({ "shard": [0, 1] }),
    ];
    for (number, to) in (1..).zip(targets) {
        let d = match to.get("user") {
            Some(_) => private_message(number, "between us"),
            None => guild.message(number, &format!("to {to} — grüße 👋 \u{2028} \"quoted\" \\ \u{0}")),
        };
        message(&node, to, &d).await;
        hears(&mut bot, &d).await;
    }
    let long = guild.message(6, &"lang wie ein Gedicht über 鯨 ".repeat(LONG / 32));
    message(&node, json!("all"), &long).await;
    hears(&mut bot, &long).await;

    for _ in 0..4 {
        bot.event("heartbeat_ack").await;
    }
    bot.tell("presence idle").await;
    messages(&node, &guild, [7]).await;
    hears_messages(&mut bot, &guild, [7]).await;
    assert_eq!(bot.all("hello").len(), 1, "one connection");
    assert_eq!(bot.all("close"), Vec::<Value>::new());
    // discord.js unpacks packets on other threads, so a small one passes a large one.
    if wish.compression != "identify" {
        bot.assert_gapless(&ready["shard"]);
    }
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_lives_on_an_uncompressed_connection() {
    lives(DiscordJs, Wish::compressed("none")).await;
}

#[tokio::test]
async fn discord_js_lives_with_compressed_packets() {
    lives(DiscordJs, Wish::compressed("identify")).await;
}

#[tokio::test]
async fn discord_js_lives_with_a_zlib_stream_and_as_many_shards_as_recommended() {
    let wish = Wish::compressed("zlib-stream");
    lives(
        DiscordJs,
        Wish {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_lives_with_a_zlib_stream_and_as_many_shards_as_recommended() {
    let wish = Wish::compressed("zlib-stream");
    lives(
        DiscordPy,
        Wish {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_lives_with_a_zstd_stream() {
    lives(DiscordPy, Wish::compressed("zstd-stream")).await;
}

/// A bot loses its connection twice while events are published that the gateway still sends to the lost connection. It
/// gets each of them once, in order, before it is told that it has resumed.
async fn resumes_after_a_cut(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = Guild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), Wish::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;

    for first in [1, 101] {
        messages(&node, &guild, first..first + 5).await;
        hears_messages(&mut bot, &guild, first..first + 5).await;
        // Nobody learns of what follows: not the gateway of the end, not the bot of anything before it may connect.
        proxy.freeze();
        bot.tell("drop").await;
        bot.event("close").await;
        messages(&node, &guild, first + 5..first + 25).await;
        proxy.heal();
        bot.event("resume").await;
        hears_messages(&mut bot, &guild, first + 5..first + 25).await;
        bot.dispatch("RESUMED").await;
    }
    messages(&node, &guild, [201]).await;
    hears_messages(&mut bot, &guild, [201]).await;
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_misses_nothing_over_a_cut() {
    resumes_after_a_cut(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_js_misses_nothing_over_a_cut_in_a_zlib_stream() {
    resumes_after_a_cut(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_misses_nothing_over_a_cut_in_a_zstd_stream() {
    resumes_after_a_cut(DiscordPy, "zstd-stream").await;
}

/// A connection is reset from both sides.
async fn resumes_after_a_reset(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = Guild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), Wish::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;
    proxy.reset();
    bot.event("close").await;
    messages(&node, &guild, [1]).await;
    hears_messages(&mut bot, &guild, [1]).await;
    bot.dispatch("RESUMED").await;
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_resumes_after_a_reset() {
    resumes_after_a_reset(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_resumes_after_a_reset() {
    resumes_after_a_reset(DiscordPy, "zlib-stream").await;
}

/// An administrator makes a bot reconnect. What is published meanwhile, it gets once.
async fn reconnects_when_told_to(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = Guild::new(0, 3);
    let mut bot = start(library, node.address(), Wish::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;
    messages(&node, &guild, 1..4).await;

    let session = ready["session"].as_str().expect("a session's id is a string");
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", bearer.as_str())];
    let target = format!("/api/v1/sessions/{session}/reconnect");
    let answer = request(node.address(), "POST", &target, &headers, "").await;
    assert!((200..300).contains(&answer.status), "{answer:?}");
    messages(&node, &guild, 4..14).await;

    bot.until("op 7", |line| line["event"] == "op" && line["op"] == 7).await;
    bot.dispatch("RESUMED").await;
    messages(&node, &guild, [14]).await;
    bot.until("the last message", |line| {
        line["t"] == "MESSAGE_CREATE" && line["d"]["content"] == "message 14"
    })
    .await;
    let heard = bot
        .all("dispatch")
        .into_iter()
        .filter(|line| line["t"] == "MESSAGE_CREATE");
    let heard: Vec<Value> = heard.map(|mut line| line["d"]["content"].take()).collect();
    let published: Vec<Value> = (1..15).map(|number| json!(format!("message {number}"))).collect();
    assert_eq!(heard, published);
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_resumes_when_it_is_told_to_reconnect() {
    reconnects_when_told_to(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_resumes_when_it_is_told_to_reconnect() {
    reconnects_when_told_to(DiscordPy, "zstd-stream").await;
}

/// Each of two shards has its guild, its events and its numbers, and one that is cut resumes alone.
async fn has_two_shards(library: Library, compression: &'static str) {
    let node = node().await;
    let guilds = [Guild::new(0, 3), Guild::new(1, 3)];
    let wish = Wish::compressed(compression);
    let mut bot = start(
        library,
        node.address(),
        Wish {
            shards: Some("2"),
            ..wish
        },
    );
    bot.event("client_ready").await;
    assert_eq!(bot.all("ready").len(), 2, "one session each");
    for guild in &guilds {
        enters(&mut bot, &node, guild).await;
    }
    for (shard, guild) in (0..).zip(&guilds) {
        for (number, to) in [(1, json!({ "guild": guild.id })), (2, json!({ "shard": [shard, 2] }))] {
            let d = guild.message(number, "for one shard");
            message(&node, to, &d).await;
            let heard = bot.dispatch("MESSAGE_CREATE").await;
            assert_eq!((&heard["shard"], &heard["d"]), (&json!(shard), &d));
        }
    }

    bot.tell("drop 1").await;
    let resumed = bot.dispatch("RESUMED").await;
    assert_eq!(resumed["shard"], 1);
    for (shard, guild) in (0..).zip(&guilds) {
        messages(&node, guild, [3]).await;
        let heard = bot.dispatch("MESSAGE_CREATE").await;
        assert_eq!(heard["shard"], shard);
        bot.assert_gapless(&json!(shard));
    }
    assert_eq!(bot.all("resume").len(), 1, "one shard resumes");
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_has_two_shards() {
    has_two_shards(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_has_two_shards() {
    has_two_shards(DiscordPy, "zstd-stream").await;
}

async fn is_told_that_its_token_is_wrong(library: Library, compression: &'static str, code: &str) {
    let node = node().await;
    let wish = Wish::compressed(compression);
    let mut bot = Bot::start(library, node.address(), "scout.not-the-secret", wish);
    assert_eq!(bot.event("login_failed").await["code"], code);
}

#[tokio::test]
async fn discord_js_is_told_that_its_token_is_wrong() {
    is_told_that_its_token_is_wrong(DiscordJs, "none", "TokenInvalid").await;
}

#[tokio::test]
async fn discord_py_is_told_that_its_token_is_wrong() {
    is_told_that_its_token_is_wrong(DiscordPy, "zstd-stream", "LoginFailure").await;
}
