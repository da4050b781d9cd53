//! Lost connections that a bot resumes from.

use gateway_harness::{
    Proxy,
    discord::{BotOptions, Library, TestGuild},
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, command, expect_messages, node, publish_guild, publish_messages, start};

/// A bot loses its connection twice, and the gateway still sends events to the lost connection. The bot receives each
/// event once, in order, before RESUMED.
async fn resumes_after_a_cut(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    publish_guild(&mut bot, &node, &guild).await;

    for first in [1, 101] {
        publish_messages(&node, &guild, first..first + 5).await;
        expect_messages(&mut bot, &guild, first..first + 5).await;
        // While the proxy is frozen, the gateway does not notice the end of the connection, and the bot cannot
        // reconnect.
        proxy.freeze();
        bot.tell("drop").await;
        bot.event("close").await;
        publish_messages(&node, &guild, first + 5..first + 25).await;
        proxy.heal();
        bot.event("resume").await;
        expect_messages(&mut bot, &guild, first + 5..first + 25).await;
        bot.dispatch("RESUMED").await;
    }
    publish_messages(&node, &guild, [201]).await;
    expect_messages(&mut bot, &guild, [201]).await;
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_resumes_after_a_cut_without_loss() {
    resumes_after_a_cut(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_js_resumes_after_a_cut_without_loss_in_a_zlib_stream() {
    resumes_after_a_cut(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_resumes_after_a_cut_without_loss_in_a_zstd_stream() {
    resumes_after_a_cut(DiscordPy, "zstd-stream").await;
}

/// The proxy resets the connection on both sides.
async fn resumes_after_a_reset(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    publish_guild(&mut bot, &node, &guild).await;
    proxy.reset();
    bot.event("close").await;
    publish_messages(&node, &guild, [1]).await;
    expect_messages(&mut bot, &guild, [1]).await;
    bot.dispatch("RESUMED").await;
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_resumes_after_a_tcp_reset() {
    resumes_after_a_reset(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_resumes_after_a_reset() {
    resumes_after_a_reset(DiscordPy, "zlib-stream").await;
}

/// An administrator makes a bot reconnect. It receives events published meanwhile once.
async fn reconnects_when_asked_to(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    publish_guild(&mut bot, &node, &guild).await;
    publish_messages(&node, &guild, 1..4).await;

    command(&node, &ready, "POST", "/reconnect").await;
    publish_messages(&node, &guild, 4..14).await;

    bot.until("op 7", |line| line["event"] == "op" && line["op"] == 7).await;
    bot.dispatch("RESUMED").await;
    publish_messages(&node, &guild, [14]).await;
    bot.until("the last message", |line| {
        line["t"] == "MESSAGE_CREATE" && line["d"]["content"] == "message 14"
    })
    .await;
    let received = bot
        .all("dispatch")
        .into_iter()
        .filter(|line| line["t"] == "MESSAGE_CREATE");
    let received: Vec<Value> = received.map(|mut line| line["d"]["content"].take()).collect();
    let published: Vec<Value> = (1..15).map(|number| json!(format!("message {number}"))).collect();
    assert_eq!(received, published);
    assert_eq!(bot.all("ready").len(), 1, "one session");
    bot.assert_gapless(&ready["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_resumes_when_asked_to_reconnect() {
    reconnects_when_asked_to(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_resumes_when_asked_to_reconnect() {
    reconnects_when_asked_to(DiscordPy, "zstd-stream").await;
}
