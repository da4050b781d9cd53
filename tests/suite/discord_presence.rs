//! Presence and voice state of bots: other sessions with the guild receive them, and they end with the session.

use std::time::Duration;

use gateway_harness::{
    KEYS, NodeProcess, RedisProcess, Setup,
    discord::{DiscordClient, TestGuild},
    eventually, key, publish, ready,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
/// Intents for presences and voice states only.
const PRESENCE_INTENTS: u64 = 1 << 8 | 1 << 7;
/// The same intents and those for guilds.
const PRESENCE_AND_GUILD_INTENTS: u64 = PRESENCE_INTENTS | 1;
/// How long a node may take to stop on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

fn setup() -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new().file(&format!("{applications}{KEYS}"))
}

async fn session(node: &NodeProcess, intents: u64) -> (DiscordClient, String) {
    shard(node, intents, [0, 1]).await
}

/// Starts a session for one shard. Returns the client and the session id.
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

/// Starts a new session and returns the presences and voice states in the `GUILD_CREATE` that it receives.
async fn presences_and_voice_states(node: &NodeProcess) -> (Value, Value) {
    let (mut client, _) = session(node, PRESENCE_AND_GUILD_INTENTS).await;
    let mut d = client.expect_dispatch("GUILD_CREATE").await;
    client.close(1000).await;
    (d["presences"].take(), d["voice_states"].take())
}

/// Waits until the only guild has no presences and no voice states.
async fn expect_empty_guild(node: &NodeProcess) {
    eventually("a guild without presences and voice states", async || {
        (presences_and_voice_states(node).await == (json!([]), json!([]))).then_some(())
    })
    .await;
}

/// Publishes a guild.
async fn publish_guild(node: &NodeProcess, guild: &TestGuild) {
    publish(node, &key("root"), &guild.create()).await;
}

async fn set_presence(client: &mut DiscordClient, status: &str) {
    let activities = json!([{ "name": "a test", "type": 0 }]);
    let d = json!({ "status": status, "activities": activities, "since": null, "afk": false });
    client.send(3, &d).await;
}

async fn set_voice_channel(client: &mut DiscordClient, guild: &TestGuild, channel: Option<&str>) {
    let d = json!({ "guild_id": guild.id, "channel_id": channel, "self_mute": false, "self_deaf": true });
    client.send(4, &d).await;
}

/// Expects a presence update with this status in this guild as the next dispatch. Returns its data.
async fn expect_presence(watcher: &mut DiscordClient, guild: &TestGuild, status: &str) -> Value {
    let d = watcher.expect_dispatch("PRESENCE_UPDATE").await;
    assert_eq!(
        (&d["guild_id"], &d["status"]),
        (&json!(guild.id), &json!(status)),
        "{d}"
    );
    d
}

/// Expects a voice state update with this channel as the next dispatch. Returns its data.
async fn expect_voice_state(watcher: &mut DiscordClient, guild: &TestGuild, channel: Option<&str>) -> Value {
    let d = watcher.expect_dispatch("VOICE_STATE_UPDATE").await;
    assert_eq!(
        (&d["guild_id"], &d["channel_id"]),
        (&json!(guild.id), &json!(channel)),
        "{d}"
    );
    d
}

#[tokio::test]
async fn presence_and_voice_state_reach_the_guilds_of_a_bot_until_its_session_ends() {
    let node = setup().start().await;
    let guilds = [TestGuild::new(0, 2), TestGuild::new(1, 2)];
    for guild in &guilds {
        publish_guild(&node, guild).await;
    }
    let (mut watcher, _) = session(&node, PRESENCE_INTENTS).await;
    let mut bot = DiscordClient::greeted(&node, V10).await;
    let presence = json!({ "status": "dnd", "game": { "name": "an old one", "type": 0 }, "since": null, "afk": false });
    let identify = json!({
        "token": key("bot"), "intents": PRESENCE_INTENTS, "properties": {}, "shard": [1, 2], "presence": presence,
    });
    bot.identify(&identify).await;
    let ready = bot.expect_dispatch("READY").await;
    for client in [&mut watcher, &mut bot] {
        let d = expect_presence(client, &guilds[1], "dnd").await;
        assert_eq!(d["user"], json!({ "id": ready["user"]["id"] }));
        assert_eq!(
            (&d["activities"][0]["name"], &d["client_status"]),
            (&json!("an old one"), &json!({ "web": "dnd" }))
        );
    }
    set_presence(&mut bot, "idle").await;
    expect_presence(&mut watcher, &guilds[1], "idle").await;
    // An unchanged presence and a voice channel in a guild of another shard are not published.
    set_presence(&mut bot, "idle").await;
    set_voice_channel(&mut bot, &guilds[0], Some("5")).await;
    set_voice_channel(&mut bot, &guilds[1], Some(&guilds[1].channel)).await;
    let d = expect_voice_state(&mut watcher, &guilds[1], Some(&guilds[1].channel)).await;
    assert_eq!(d["session_id"], ready["session_id"]);
    assert_eq!((&d["self_deaf"], &d["mute"]), (&json!(true), &json!(false)));
    set_voice_channel(&mut bot, &guilds[1], None).await;
    expect_voice_state(&mut watcher, &guilds[1], None).await;
    set_voice_channel(&mut bot, &guilds[1], Some(&guilds[1].channel)).await;
    expect_voice_state(&mut watcher, &guilds[1], Some(&guilds[1].channel)).await;
    set_presence(&mut bot, "invisible").await;
    expect_presence(&mut watcher, &guilds[1], "offline").await;
    set_presence(&mut bot, "online").await;
    expect_presence(&mut watcher, &guilds[1], "online").await;
    // The watcher is a session of the same bot in that guild, so the bot stays online there. The voice channel belongs
    // to the closed session and is left.
    bot.close(1000).await;
    let d = expect_voice_state(&mut watcher, &guilds[1], None).await;
    assert_eq!(d["session_id"], ready["session_id"]);
    watcher.heartbeat().await;
}

#[tokio::test]
async fn later_sessions_get_the_presence_of_a_bot_until_its_last_session_ends() {
    let node = setup().start().await;
    let guild = TestGuild::new(1, 2);
    publish_guild(&node, &guild).await;
    let (mut bot, id) = session(&node, PRESENCE_INTENTS).await;
    set_presence(&mut bot, "online").await;
    expect_presence(&mut bot, &guild, "online").await;
    set_voice_channel(&mut bot, &guild, Some(&guild.channel)).await;
    expect_voice_state(&mut bot, &guild, Some(&guild.channel)).await;
    let (presences, voices) = presences_and_voice_states(&node).await;
    assert_eq!(
        (&presences[0]["status"], &voices[0]["session_id"]),
        (&json!("online"), &json!(id))
    );
    // A session that may still resume keeps both.
    let seen = bot.sequence();
    drop(bot);
    assert_eq!(presences_and_voice_states(&node).await, (presences, voices));
    let bot = resumed(&node, &id, seen).await;
    bot.close(1001).await;
    expect_empty_guild(&node).await;
}

#[tokio::test]
async fn presence_is_visible_on_every_node_until_the_sessions_of_a_dead_node_expire() {
    let redis = RedisProcess::start().await;
    let on = || setup().redis(&redis.url()).set("cluster.lease_ms", 2000);
    // The node of a session decides how long the session is kept after its last heartbeat.
    let short = on()
        .set("session.resume_window_ms", 2000)
        .set("discord.heartbeat_interval_ms", 1500);
    let (mut dying, second, third) = (short.start().await, on().start().await, on().start().await);
    for node in [&dying, &second, &third] {
        ready(node).await;
    }
    let (mut watcher, _) = session(&third, PRESENCE_INTENTS).await;
    let (mut moving, id) = shard(&dying, PRESENCE_INTENTS, [1, 2]).await;
    let (mut bot, dead) = shard(&dying, PRESENCE_INTENTS, [1, 2]).await;
    let guild = TestGuild::new(1, 2);
    publish_guild(&second, &guild).await;
    // Events are in order, so both know the guild once they have received a later event.
    let after = json!({ "t": "X", "to": { "shard": [1, 2] }, "d": {} });
    publish(&second, &key("root"), &after).await;
    for client in [&mut moving, &mut bot] {
        client.expect_dispatch("X").await;
    }
    set_presence(&mut bot, "idle").await;
    for client in [&mut moving, &mut bot, &mut watcher] {
        expect_presence(client, &guild, "idle").await;
    }
    set_voice_channel(&mut bot, &guild, Some(&guild.channel)).await;
    for client in [&mut moving, &mut bot, &mut watcher] {
        let d = expect_voice_state(client, &guild, Some(&guild.channel)).await;
        assert_eq!(d["session_id"], json!(dead));
    }
    let late = on().start().await;
    ready(&late).await;
    let (presences, voice_states) = presences_and_voice_states(&late).await;
    assert_eq!(
        (&presences[0]["status"], &voice_states[0]["session_id"]),
        (&json!("idle"), &json!(dead)),
        "a node that starts later has them too"
    );
    let seen = moving.sequence();
    dying.signal(Signal::SIGKILL);
    dying.ended(SLACK).await;
    let mut moving = resumed(&second, &id, seen).await;
    let d = expect_voice_state(&mut watcher, &guild, None).await;
    assert_eq!(d["session_id"], json!(dead));
    expect_voice_state(&mut moving, &guild, None).await;
    // The resumed session keeps the bot online until it ends, and so does the watcher.
    moving.close(1000).await;
    let (presences, _) = presences_and_voice_states(&second).await;
    assert_eq!(presences[0]["status"], "idle");
    watcher.close(1000).await;
    expect_empty_guild(&second).await;
}

#[tokio::test]
async fn an_expired_session_leaves_its_voice_channel() {
    let node = setup().set("session.resume_window_ms", 1500).start().await;
    let guild = TestGuild::new(1, 2);
    publish_guild(&node, &guild).await;
    let (mut bot, id) = session(&node, PRESENCE_INTENTS).await;
    set_presence(&mut bot, "online").await;
    expect_presence(&mut bot, &guild, "online").await;
    set_voice_channel(&mut bot, &guild, Some(&guild.channel)).await;
    expect_voice_state(&mut bot, &guild, Some(&guild.channel)).await;
    let seen = bot.sequence();
    drop(bot);
    let mut again = DiscordClient::greeted(&node, V10).await;
    again.resume(&key("bot"), &id, seen).await;
    again.expect_dispatch("RESUMED").await;
    // The resumed session sets its presence and voice channel again.
    set_presence(&mut again, "online").await;
    set_voice_channel(&mut again, &guild, Some(&guild.channel)).await;
    expect_voice_state(&mut again, &guild, Some(&guild.channel)).await;
    drop(again);
    // A new session keeps the bot online. The voice channel is left when the resume window expires.
    let (mut next, _) = session(&node, PRESENCE_INTENTS).await;
    let d = expect_voice_state(&mut next, &guild, None).await;
    assert_eq!(d["session_id"], json!(id));
    next.close(1000).await;
    let (mut last, _) = session(&node, PRESENCE_INTENTS).await;
    set_presence(&mut last, "online").await;
    expect_presence(&mut last, &guild, "online").await;
}
