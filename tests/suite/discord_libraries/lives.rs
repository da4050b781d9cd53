//! A whole life on one connection, in each compression.

use gateway_harness::discord::{BotOptions, Library, TestGuild, private_message};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, enters, hears, hears_messages, message, messages, node, start};

/// More than a block of DEFLATE holds, and more than 16 bits of a frame's length tell.
const LONG: usize = 70_000;

/// A bot goes from its login over events of every kind to its goodbye on one connection.
async fn lives(library: Library, wish: BotOptions) {
    let node = node().await;
    let guild = TestGuild::new(0, 60);
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
    let long = guild.message(6, &"lang wie ein Gedicht über 鯨 ".repeat(LONG / 31));
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
    lives(DiscordJs, BotOptions::compressed("none")).await;
}

#[tokio::test]
async fn discord_js_lives_with_compressed_packets() {
    lives(DiscordJs, BotOptions::compressed("identify")).await;
}

#[tokio::test]
async fn discord_js_lives_with_a_zlib_stream_and_as_many_shards_as_recommended() {
    let wish = BotOptions::compressed("zlib-stream");
    lives(
        DiscordJs,
        BotOptions {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_lives_with_a_zlib_stream_and_as_many_shards_as_recommended() {
    let wish = BotOptions::compressed("zlib-stream");
    lives(
        DiscordPy,
        BotOptions {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_lives_with_a_zstd_stream() {
    lives(DiscordPy, BotOptions::compressed("zstd-stream")).await;
}
