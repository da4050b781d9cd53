//! What bots do when their session is gone or their token is invalid.

use std::fs;

use gateway_harness::{
    Proxy,
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{DiscordJs, DiscordPy, command, expect_messages, node, publish_guild, publish_messages, setup, start};

/// An administrator ends the session of a bot. The bot tries to resume, gets op 9, and identifies again.
async fn identifies_again_when_its_session_is_ended(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let first = bot.event("ready").await;
    bot.event("client_ready").await;
    publish_guild(&mut bot, &node, &guild).await;
    command(&node, &first, "DELETE", "").await;
    assert_eq!(bot.event("close").await["code"], 4000);
    bot.event("resume").await;
    let invalid = bot.event("op").await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&json!(9), &json!(false)));
    let second = bot.event("ready").await;
    assert_ne!(second["session"], first["session"]);
    assert_eq!(second["guilds"], json!([guild.id]));
    bot.dispatch("GUILD_CREATE").await;
    publish_messages(&node, &guild, [1]).await;
    expect_messages(&mut bot, &guild, [1]).await;
    bot.assert_gapless(&second["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_identifies_again_when_its_session_is_ended() {
    identifies_again_when_its_session_is_ended(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_identifies_again_when_its_session_is_ended() {
    identifies_again_when_its_session_is_ended(DiscordPy, "zstd-stream").await;
}

/// The node of a bot is replaced by one without its session. The bot is asked to reconnect, gets op 9 for its resume,
/// and identifies again.
async fn identifies_again_on_a_node_that_does_not_know_its_session(library: Library, compression: &'static str) {
    let guild = TestGuild::new(0, 3);
    let leaving = || setup().set("drain.balancer_wait_ms", 0).set("drain.spread_ms", 100);
    let (mut old, new) = (leaving().start().await, node().await);
    publish(&new, &key("root"), &guild.create()).await;
    let proxy = Proxy::start(old.address()).await;
    let mut bot = start(library, proxy.address(), BotOptions::compressed(compression));
    let first = bot.event("ready").await;
    bot.event("client_ready").await;
    proxy.retarget(new.address());
    assert!(old.stop().await.success());
    assert_eq!(bot.event("op").await["op"], 7);
    bot.event("resume").await;
    assert_eq!(bot.event("op").await["op"], 9);
    let second = bot.event("ready").await;
    assert_ne!(second["session"], first["session"]);
    bot.dispatch("GUILD_CREATE").await;
    publish_messages(&new, &guild, [1]).await;
    expect_messages(&mut bot, &guild, [1]).await;
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_identifies_again_on_a_node_that_does_not_know_its_session() {
    identifies_again_on_a_node_that_does_not_know_its_session(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_identifies_again_on_a_node_that_does_not_know_its_session() {
    identifies_again_on_a_node_that_does_not_know_its_session(DiscordPy, "zlib-stream").await;
}

/// The key of a connected bot is removed from the configuration. The library has to give up, because no reconnect would
/// make the token valid again.
async fn gives_up_when_its_key_is_revoked(library: Library, compression: &'static str, last_event: &str) {
    let node = node().await;
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    bot.event("client_ready").await;
    let text = fs::read_to_string(node.file()).unwrap();
    fs::write(node.file(), text.replace("\"scout\"", "\"somebody\"")).unwrap();
    node.signal(Signal::SIGHUP);
    assert_eq!(bot.event("close").await["code"], 4004);
    bot.event(last_event).await;
    assert_eq!(bot.all("hello").len(), 1, "one connection");
}

#[tokio::test]
async fn discord_js_gives_up_when_its_key_is_revoked() {
    gives_up_when_its_key_is_revoked(DiscordJs, "none", "error").await;
}

#[tokio::test]
async fn discord_py_gives_up_when_its_key_is_revoked() {
    gives_up_when_its_key_is_revoked(DiscordPy, "zstd-stream", "login_failed").await;
}

async fn reports_a_wrong_token(library: Library, compression: &'static str, code: &str) {
    let node = node().await;
    let wish = BotOptions::compressed(compression);
    let mut bot = Bot::start(library, node.address(), "scout.not-the-secret", wish);
    assert_eq!(bot.event("login_failed").await["code"], code);
}

#[tokio::test]
async fn discord_js_reports_a_wrong_token() {
    reports_a_wrong_token(DiscordJs, "none", "TokenInvalid").await;
}

#[tokio::test]
async fn discord_py_reports_a_wrong_token() {
    reports_a_wrong_token(DiscordPy, "zstd-stream", "LoginFailure").await;
}
