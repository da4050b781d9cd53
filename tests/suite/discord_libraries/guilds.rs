//! Guilds that exist before the bot connects, and their members.

use gateway_harness::{
    NodeProcess,
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, expect_message, node, publish_guild, publish_message, start};

/// Starts a node with this guild and a bot, whose READY must list the guild.
async fn bot_with_guild(library: Library, compression: &'static str, guild: &TestGuild) -> (NodeProcess, Bot) {
    let node = node().await;
    publish(&node, &key("root"), &guild.create()).await;
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    assert_eq!(ready["guilds"], json!([guild.id]));
    (node, bot)
}

/// Asserts that the library, once ready, has exactly this guild cached.
async fn assert_cached(bot: &mut Bot, guild: &TestGuild) {
    let ready = bot.event("client_ready").await;
    let known = json!([{
        "id": guild.id,
        "name": guild.name,
        "available": true,
        "shard": 0,
        "member_count": guild.members,
        "channels": 1,
    }]);
    assert_eq!(ready["guilds"], known);
}

/// Requests all members and asserts that they are complete.
async fn assert_members(bot: &mut Bot, guild: &TestGuild) {
    bot.tell(&format!("members {}", guild.id)).await;
    let members = bot.event("members").await;
    let names: Vec<String> = (0..guild.members).map(|number| guild.member_name(number)).collect();
    assert_eq!(members["names"], json!(names));
}

/// A guild arrives as published, and the library emits a message in it.
async fn caches_a_small_guild(library: Library, compression: &'static str) {
    let guild = TestGuild::new(0, 40);
    let (node, mut bot) = bot_with_guild(library, compression, &guild).await;
    let mut created = bot.dispatch("GUILD_CREATE").await;
    // The presence of the bot itself may already be included.
    created["d"]["presences"] = json!([]);
    assert_eq!(created["d"], guild.create()["d"]);
    assert_cached(&mut bot, &guild).await;
    assert_members(&mut bot, &guild).await;
    let d = guild.message(1, "welcome");
    publish_message(&node, json!({ "guild": guild.id }), &d).await;
    expect_message(&mut bot, &d).await;
    publish_guild(&mut bot, &node, &TestGuild::new(1, 1)).await;
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_caches_a_small_guild() {
    caches_a_small_guild(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_caches_a_small_guild() {
    caches_a_small_guild(DiscordPy, "zstd-stream").await;
}

/// A large guild comes without offline members. discord.py requests all members before it is ready.
async fn caches_a_large_guild(library: Library, compression: &'static str) {
    let guild = TestGuild::new(0, 2500);
    let (_node, mut bot) = bot_with_guild(library, compression, &guild).await;
    let created = bot.dispatch("GUILD_CREATE").await;
    assert_eq!(
        (&created["d"]["large"], &created["d"]["member_count"]),
        (&json!(true), &json!(guild.members))
    );
    assert_eq!(created["d"]["members"], json!([]));
    assert_cached(&mut bot, &guild).await;
    assert_members(&mut bot, &guild).await;
    let chunks = bot
        .all("dispatch")
        .into_iter()
        .filter(|line| line["t"] == "GUILD_MEMBERS_CHUNK");
    let sizes: Vec<usize> = chunks
        .map(|line| line["d"]["members"].as_array().map_or(0, Vec::len))
        .collect();
    assert!(
        sizes.chunks(3).all(|of_request| of_request == [1000, 1000, 500]),
        "{sizes:?}"
    );
    assert_eq!(bot.all("close"), Vec::<Value>::new());
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_caches_a_large_guild() {
    caches_a_large_guild(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_caches_a_large_guild() {
    caches_a_large_guild(DiscordPy, "zlib-stream").await;
}
