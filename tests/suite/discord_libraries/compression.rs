//! A whole session on one connection, with each compression.

use gateway_harness::discord::{BotOptions, Library, TestGuild, private_message};
use serde_json::{Value, json};

use super::{
    DiscordJs, DiscordPy, expect_message, expect_messages, node, publish_guild, publish_message, publish_messages,
    start,
};

/// A length in bytes above that of a stored DEFLATE block, and above a 16-bit frame length.
const LONG: usize = 70_000;

/// A bot logs in, receives events with every kind of target, and quits, on one connection.
async fn runs_a_session(library: Library, wish: BotOptions) {
    let node = node().await;
    let guild = TestGuild::new(0, 60);
    let mut bot = start(library, node.address(), wish);
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    publish_guild(&mut bot, &node, &guild).await;

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
        publish_message(&node, to, &d).await;
        expect_message(&mut bot, &d).await;
    }
    let long = guild.message(6, &"lang wie ein Gedicht über 鯨 ".repeat(LONG / 31));
    publish_message(&node, json!("all"), &long).await;
    expect_message(&mut bot, &long).await;

    for _ in 0..4 {
        bot.event("heartbeat_ack").await;
    }
    bot.tell("presence idle").await;
    publish_messages(&node, &guild, [7]).await;
    expect_messages(&mut bot, &guild, [7]).await;
    assert_eq!(bot.all("hello").len(), 1, "one connection");
    assert_eq!(bot.all("close"), Vec::<Value>::new());
    // discord.js inflates packets on other threads, so a small packet may overtake a large one.
    if wish.compression != "identify" {
        bot.assert_gapless(&ready["shard"]);
    }
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_works_uncompressed() {
    runs_a_session(DiscordJs, BotOptions::compressed("none")).await;
}

#[tokio::test]
async fn discord_js_works_with_compressed_packets() {
    runs_a_session(DiscordJs, BotOptions::compressed("identify")).await;
}

#[tokio::test]
async fn discord_js_works_with_a_zlib_stream_and_the_recommended_shards() {
    let wish = BotOptions::compressed("zlib-stream");
    runs_a_session(
        DiscordJs,
        BotOptions {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_works_with_a_zlib_stream_and_the_recommended_shards() {
    let wish = BotOptions::compressed("zlib-stream");
    runs_a_session(
        DiscordPy,
        BotOptions {
            shards: Some("auto"),
            ..wish
        },
    )
    .await;
}

#[tokio::test]
async fn discord_py_works_with_a_zstd_stream() {
    runs_a_session(DiscordPy, BotOptions::compressed("zstd-stream")).await;
}
