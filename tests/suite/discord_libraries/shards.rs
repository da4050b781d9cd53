//! Bots with two shards.

use gateway_harness::discord::{BotOptions, Library, TestGuild};
use serde_json::json;

use super::{DiscordJs, DiscordPy, node, publish_guild, publish_message, publish_messages, start};

/// Each of two shards receives its own guild and events with its own sequence numbers, and a cut shard resumes alone.
async fn runs_two_shards(library: Library, compression: &'static str) {
    let node = node().await;
    let guilds = [TestGuild::new(0, 3), TestGuild::new(1, 3)];
    let wish = BotOptions::compressed(compression);
    let mut bot = start(
        library,
        node.address(),
        BotOptions {
            shards: Some("2"),
            ..wish
        },
    );
    bot.event("client_ready").await;
    assert_eq!(bot.all("ready").len(), 2, "one session each");
    for guild in &guilds {
        publish_guild(&mut bot, &node, guild).await;
    }
    for (shard, guild) in (0..).zip(&guilds) {
        for (number, to) in [(1, json!({ "guild": guild.id })), (2, json!({ "shard": [shard, 2] }))] {
            let d = guild.message(number, "for one shard");
            publish_message(&node, to, &d).await;
            let received = bot.dispatch("MESSAGE_CREATE").await;
            assert_eq!((&received["shard"], &received["d"]), (&json!(shard), &d));
        }
    }

    bot.tell("drop 1").await;
    let resumed = bot.dispatch("RESUMED").await;
    assert_eq!(resumed["shard"], 1);
    for (shard, guild) in (0..).zip(&guilds) {
        publish_messages(&node, guild, [3]).await;
        let received = bot.dispatch("MESSAGE_CREATE").await;
        assert_eq!(received["shard"], shard);
        bot.assert_gapless(&json!(shard));
    }
    assert_eq!(bot.all("resume").len(), 1, "one shard resumes");
    bot.quit().await;
}

#[tokio::test]
async fn discord_js_runs_two_shards() {
    runs_two_shards(DiscordJs, "none").await;
}

#[tokio::test]
async fn discord_py_runs_two_shards() {
    runs_two_shards(DiscordPy, "zstd-stream").await;
}
