//! Guilds that were there before the bot, and their members.

use gateway_harness::{
    NodeProcess,
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, enters, hears, message, node, start};

/// A bot that has been greeted with this guild.
async fn greeted(library: Library, compression: &'static str, guild: &TestGuild) -> (NodeProcess, Bot) {
    let node = node().await;
    publish(&node, &key("root"), &guild.create()).await;
    let mut bot = start(library, node.address(), BotOptions::compressed(compression));
    let ready = bot.event("ready").await;
    assert_eq!(ready["guilds"], json!([guild.id]));
    (node, bot)
}

/// What the library says of its guilds when it is ready has to be this one, whole.
async fn knows(bot: &mut Bot, guild: &TestGuild) {
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

/// Asks for all members.
async fn counts_members(bot: &mut Bot, guild: &TestGuild) {
    bot.tell(&format!("members {}", guild.id)).await;
    let members = bot.event("members").await;
    let names: Vec<String> = (0..guild.members).map(|number| guild.member_name(number)).collect();
    assert_eq!(members["names"], json!(names));
}

/// A guild is as it was published, and a message in it is understood.
async fn knows_a_small_guild(library: Library, compression: &'static str) {
    let guild = TestGuild::new(0, 40);
    let (node, mut bot) = greeted(library, compression, &guild).await;
    let mut created = bot.dispatch("GUILD_CREATE").await;
    // That of the bot itself may be there already.
    created["d"]["presences"] = json!([]);
    assert_eq!(created["d"], guild.create()["d"]);
    knows(&mut bot, &guild).await;
    counts_members(&mut bot, &guild).await;
    let d = guild.message(1, "welcome");
    message(&node, json!({ "guild": guild.id }), &d).await;
    hears(&mut bot, &d).await;
    enters(&mut bot, &node, &TestGuild::new(1, 1)).await;
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_knows_a_small_guild() {
    knows_a_small_guild(DiscordJs, "zlib-stream").await;
}

#[tokio::test]
async fn discord_py_knows_a_small_guild() {
    knows_a_small_guild(DiscordPy, "zstd-stream").await;
}

/// A large guild comes without those who are offline. discord.py asks for all of them before it calls itself ready.
async fn knows_a_large_guild(library: Library, compression: &'static str) {
    let guild = TestGuild::new(0, 2500);
    let (_node, mut bot) = greeted(library, compression, &guild).await;
    let created = bot.dispatch("GUILD_CREATE").await;
    assert_eq!(
        (&created["d"]["large"], &created["d"]["member_count"]),
        (&json!(true), &json!(guild.members))
    );
    assert_eq!(created["d"]["members"], json!([]));
    knows(&mut bot, &guild).await;
    counts_members(&mut bot, &guild).await;
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
async fn discord_js_knows_a_large_guild() {
    knows_a_large_guild(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_knows_a_large_guild() {
    knows_a_large_guild(DiscordPy, "zlib-stream").await;
}
