//! What a bot does whose session or whose token is not good, or no longer.

use std::fs;

use gateway_harness::{
    Proxy,
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{DiscordJs, DiscordPy, enters, hears_messages, messages, node, order, setup, start};

/// An administrator ends the session of a bot. It tries to resume, hears that there is nothing to resume, and begins anew.
async fn begins_anew_when_its_session_is_ended(library: Library, compression: &'static str) {
    let node = node().await;
    let guild = TestGuild::new(0, 3);
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let first = bot.event("ready").await;
    bot.event("client_ready").await;
    enters(&mut bot, &node, &guild).await;
    order(&node, &first, "DELETE", "").await;
    assert_eq!(bot.event("close").await["code"], 4000);
    bot.event("resume").await;
    let invalid = bot.event("op").await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&json!(9), &json!(false)));
    let second = bot.event("ready").await;
    assert_ne!(second["session"], first["session"]);
    assert_eq!(second["guilds"], json!([guild.id]));
    bot.dispatch("GUILD_CREATE").await;
    messages(&node, &guild, [1]).await;
    hears_messages(&mut bot, &guild, [1]).await;
    bot.assert_gapless(&second["shard"]);
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_begins_anew_when_its_session_is_ended() {
    begins_anew_when_its_session_is_ended(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_begins_anew_when_its_session_is_ended() {
    begins_anew_when_its_session_is_ended(DiscordPy, "zstd-stream").await;
}

/// The node of a bot is replaced by one that knows nothing of its session. It is told to reconnect, hears there that there
/// is nothing to resume, and begins anew.
async fn begins_anew_at_a_node_that_does_not_know_it(library: Library, compression: &'static str) {
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
    messages(&new, &guild, [1]).await;
    hears_messages(&mut bot, &guild, [1]).await;
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_begins_anew_at_a_node_that_does_not_know_it() {
    begins_anew_at_a_node_that_does_not_know_it(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_begins_anew_at_a_node_that_does_not_know_it() {
    begins_anew_at_a_node_that_does_not_know_it(DiscordPy, "zlib-stream").await;
}

/// The key of a connected bot is taken out of the configuration. The library has to give up: nothing that it can do
/// would make the token good again.
async fn gives_up_when_its_key_is_revoked(library: Library, compression: &'static str, last_word: &str) {
    let node = node().await;
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    bot.event("client_ready").await;
    let text = fs::read_to_string(node.file()).unwrap();
    fs::write(node.file(), text.replace("\"scout\"", "\"somebody\"")).unwrap();
    node.signal(Signal::SIGHUP);
    assert_eq!(bot.event("close").await["code"], 4004);
    bot.event(last_word).await;
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

async fn is_told_that_its_token_is_wrong(library: Library, compression: &'static str, code: &str) {
    let node = node().await;
    let wish = BotOptions::compressed(compression);
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
