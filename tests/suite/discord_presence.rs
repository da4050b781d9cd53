//! How a bot is seen by the others of its guilds: what it says of its presence and its voice channel, and that both are over
//! when its session is.

use std::time::Duration;

use gateway_harness::{
    KEYS, NodeProcess, RedisProcess, Setup,
    discord::{DiscordClient, TestGuild},
    eventually, key, publish, ready,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
/// Presences and voice states alone.
const SEES: u64 = 1 << 8 | 1 << 7;
/// And the guilds that are there.
const SEES_GUILDS: u64 = SEES | 1;
/// What a busy machine may take for a node to end.
const SLACK: Duration = Duration::from_secs(10);

fn setup() -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new().file(&format!("{applications}{KEYS}"))
}

async fn session(node: &NodeProcess, intents: u64) -> (DiscordClient, String) {
    shard(node, intents, [0, 1]).await
}

/// A session that has a part of the guilds, and its id.
async fn shard(node: &NodeProcess, intents: u64, shard: [u64; 2]) -> (DiscordClient, String) {
    let mut client = DiscordClient::greeted(node, V10).await;
    let identify = json!({ "token": key("bot"), "intents": intents, "properties": {}, "shard": shard });
    client.identify(&identify).await;
    let ready = client.expect_dispatch("READY").await;
    let id = ready["session_id"].as_str().expect("an id").to_owned();
    (client, id)
}

async fn resumed(node: &NodeProcess, id: &str, seen: u64) -> DiscordClient {
    let mut client = DiscordClient::greeted(node, V10).await;
    client.resume(&key("bot"), id, seen).await;
    client.expect_dispatch("RESUMED").await;
    client
}

/// What whoever comes to a guild is told of presences and voice states in it, or of the guild that nobody knows.
async fn picture(node: &NodeProcess) -> (Value, Value) {
    let (mut client, _) = session(node, SEES_GUILDS).await;
    let mut d = client.expect_dispatch("GUILD_CREATE").await;
    client.close(1000).await;
    (d["presences"].take(), d["voice_states"].take())
}

/// Nobody is online in the only guild, and nobody in a channel of it.
async fn is_deserted(node: &NodeProcess) {
    eventually("a guild without anybody", async || {
        (picture(node).await == (json!([]), json!([]))).then_some(())
    })
    .await;
}

/// Lets every node that has a session know a guild.
async fn enters(node: &NodeProcess, guild: &TestGuild) {
    publish(node, &key("root"), &guild.create()).await;
}

async fn shows(client: &mut DiscordClient, status: &str) {
    let activities = json!([{ "name": "a test", "type": 0 }]);
    let d = json!({ "status": status, "activities": activities, "since": null, "afk": false });
    client.send(3, &d).await;
}

async fn speaks(client: &mut DiscordClient, guild: &TestGuild, channel: Option<&str>) {
    let d = json!({ "guild_id": guild.id, "channel_id": channel, "self_mute": false, "self_deaf": true });
    client.send(4, &d).await;
}

/// The next dispatch tells of this status in this guild.
async fn sees(watcher: &mut DiscordClient, guild: &TestGuild, status: &str) -> Value {
    let d = watcher.expect_dispatch("PRESENCE_UPDATE").await;
    assert_eq!(
        (&d["guild_id"], &d["status"]),
        (&json!(guild.id), &json!(status)),
        "{d}"
    );
    d
}

/// The next dispatch tells that the bot is in this channel.
async fn hears(watcher: &mut DiscordClient, guild: &TestGuild, channel: Option<&str>) -> Value {
    let d = watcher.expect_dispatch("VOICE_STATE_UPDATE").await;
    assert_eq!(
        (&d["guild_id"], &d["channel_id"]),
        (&json!(guild.id), &json!(channel)),
        "{d}"
    );
    d
}

#[tokio::test]
async fn a_bot_is_seen_in_its_guilds_and_no_more_when_its_session_is_over() {
    let node = setup().start().await;
    let guilds = [TestGuild::new(0, 2), TestGuild::new(1, 2)];
    for guild in &guilds {
        enters(&node, guild).await;
    }
    let (mut watcher, _) = session(&node, SEES).await;
    let mut bot = DiscordClient::greeted(&node, V10).await;
    let presence = json!({ "status": "dnd", "game": { "name": "an old one", "type": 0 }, "since": null, "afk": false });
    let identify = json!({
        "token": key("bot"), "intents": SEES, "properties": {}, "shard": [1, 2], "presence": presence,
    });
    bot.identify(&identify).await;
    let ready = bot.expect_dispatch("READY").await;
    for client in [&mut watcher, &mut bot] {
        let d = sees(client, &guilds[1], "dnd").await;
        assert_eq!(d["user"], json!({ "id": ready["user"]["id"] }));
        assert_eq!(
            (&d["activities"][0]["name"], &d["client_status"]),
            (&json!("an old one"), &json!({ "web": "dnd" }))
        );
    }
    shows(&mut bot, "idle").await;
    sees(&mut watcher, &guilds[1], "idle").await;
    // The same once more, and a channel of a guild that is another shard's: nobody hears of either.
    shows(&mut bot, "idle").await;
    speaks(&mut bot, &guilds[0], Some("5")).await;
    speaks(&mut bot, &guilds[1], Some(&guilds[1].channel)).await;
    let d = hears(&mut watcher, &guilds[1], Some(&guilds[1].channel)).await;
    assert_eq!(d["session_id"], ready["session_id"]);
    assert_eq!((&d["self_deaf"], &d["mute"]), (&json!(true), &json!(false)));
    speaks(&mut bot, &guilds[1], None).await;
    hears(&mut watcher, &guilds[1], None).await;
    speaks(&mut bot, &guilds[1], Some(&guilds[1].channel)).await;
    hears(&mut watcher, &guilds[1], Some(&guilds[1].channel)).await;
    shows(&mut bot, "invisible").await;
    sees(&mut watcher, &guilds[1], "offline").await;
    shows(&mut bot, "online").await;
    sees(&mut watcher, &guilds[1], "online").await;
    // The watcher has that guild as well: the bot stays online there, and its session's channel is left.
    bot.close(1000).await;
    let d = hears(&mut watcher, &guilds[1], None).await;
    assert_eq!(d["session_id"], ready["session_id"]);
    watcher.heartbeat().await;
}

#[tokio::test]
async fn whoever_comes_later_finds_the_bot_as_it_is_until_its_last_session_is_over() {
    let node = setup().start().await;
    let guild = TestGuild::new(1, 2);
    enters(&node, &guild).await;
    let (mut bot, id) = session(&node, SEES).await;
    shows(&mut bot, "online").await;
    sees(&mut bot, &guild, "online").await;
    speaks(&mut bot, &guild, Some(&guild.channel)).await;
    hears(&mut bot, &guild, Some(&guild.channel)).await;
    let (presences, voices) = picture(&node).await;
    assert_eq!(
        (&presences[0]["status"], &voices[0]["session_id"]),
        (&json!("online"), &json!(id))
    );
    // Who may resume is as it was.
    let seen = bot.sequence();
    drop(bot);
    assert_eq!(picture(&node).await, (presences, voices));
    let bot = resumed(&node, &id, seen).await;
    bot.close(1001).await;
    is_deserted(&node).await;
}

#[tokio::test]
async fn a_bot_is_seen_on_every_node_until_its_own_is_dead_and_its_window_over() {
    let redis = RedisProcess::start().await;
    let on = || setup().redis(&redis.url()).set("cluster.lease_ms", 2000);
    // What it is kept for after its last sign of life, its own node says.
    let short = on()
        .set("session.resume_window_ms", 2000)
        .set("discord.heartbeat_interval_ms", 1500);
    let (mut dying, second, third) = (short.start().await, on().start().await, on().start().await);
    for node in [&dying, &second, &third] {
        ready(node).await;
    }
    let (mut watcher, _) = session(&third, SEES).await;
    let (mut moving, id) = shard(&dying, SEES, [1, 2]).await;
    let (mut bot, dead) = shard(&dying, SEES, [1, 2]).await;
    let guild = TestGuild::new(1, 2);
    enters(&second, &guild).await;
    // Both know the guild once they have what comes after it.
    let after = json!({ "t": "X", "to": { "shard": [1, 2] }, "d": {} });
    publish(&second, &key("root"), &after).await;
    for client in [&mut moving, &mut bot] {
        client.expect_dispatch("X").await;
    }
    shows(&mut bot, "idle").await;
    for client in [&mut moving, &mut bot, &mut watcher] {
        sees(client, &guild, "idle").await;
    }
    speaks(&mut bot, &guild, Some(&guild.channel)).await;
    for client in [&mut moving, &mut bot, &mut watcher] {
        let d = hears(client, &guild, Some(&guild.channel)).await;
        assert_eq!(d["session_id"], json!(dead));
    }
    let late = on().start().await;
    ready(&late).await;
    let (presences, voice_states) = picture(&late).await;
    assert_eq!(
        (&presences[0]["status"], &voice_states[0]["session_id"]),
        (&json!("idle"), &json!(dead)),
        "a node that starts now knows it too"
    );
    let seen = moving.sequence();
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    let mut moving = resumed(&second, &id, seen).await;
    let d = hears(&mut watcher, &guild, None).await;
    assert_eq!(d["session_id"], json!(dead));
    hears(&mut moving, &guild, None).await;
    // The one that went on keeps the presence until it has ended as well, and so does the watcher.
    moving.close(1000).await;
    let (presences, _) = picture(&second).await;
    assert_eq!(presences[0]["status"], "idle");
    watcher.close(1000).await;
    is_deserted(&second).await;
}

#[tokio::test]
async fn a_session_that_cannot_be_resumed_any_more_is_seen_no_more() {
    let node = setup().set("session.resume_window_ms", 1500).start().await;
    let guild = TestGuild::new(1, 2);
    enters(&node, &guild).await;
    let (mut bot, id) = session(&node, SEES).await;
    shows(&mut bot, "online").await;
    sees(&mut bot, &guild, "online").await;
    speaks(&mut bot, &guild, Some(&guild.channel)).await;
    hears(&mut bot, &guild, Some(&guild.channel)).await;
    let seen = bot.sequence();
    drop(bot);
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&key("bot"), &id, seen).await;
    again.expect_dispatch("RESUMED").await;
    // What it was before it is still.
    shows(&mut again, "online").await;
    speaks(&mut again, &guild, Some(&guild.channel)).await;
    hears(&mut again, &guild, Some(&guild.channel)).await;
    drop(again);
    // Who comes now keeps the presence. The channel is left when the window is over.
    let (mut next, _) = session(&node, SEES).await;
    let d = hears(&mut next, &guild, None).await;
    assert_eq!(d["session_id"], json!(id));
    next.close(1000).await;
    let (mut last, _) = session(&node, SEES).await;
    shows(&mut last, "online").await;
    sees(&mut last, &guild, "online").await;
}
