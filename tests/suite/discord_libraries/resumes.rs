//! What costs a bot its connection and nothing else.

use gateway_harness::{
    Proxy,
    discord::{BotOptions, Library, TestGuild},
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, enters, hears_messages, messages, node, order, start};

/// A bot loses its connection twice while events are published that the gateway still sends to the lost connection. It
/// gets each of them once, in order, before it is told that it has resumed.
async fn resumes_after_a_cut(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), BotOptions::compressed(compression));
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
    let guild = TestGuild::new(0, 3);
    let proxy = Proxy::start(node.address()).await;
    let mut bot = start(library, proxy.address(), BotOptions::compressed(compression));
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
    let guild = TestGuild::new(0, 3);
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;
    messages(&node, &guild, 1..4).await;

    order(&node, &ready, "POST", "/reconnect").await;
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
