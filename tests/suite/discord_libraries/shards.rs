//! Bots with two shards.

use gateway_harness::discord::{BotOptions, Library, TestGuild};
use serde_json::json;

use super::{DiscordJs, DiscordPy, enters, message, messages, node, start};

/// Each of two shards has its guild, its events and its numbers, and one that is cut resumes alone.
async fn has_two_shards(library: Library, compression: &'static str) {
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
