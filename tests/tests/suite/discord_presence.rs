//! How a bot is seen by the others of its guilds: what it says of its presence and its voice channel, and that both are over
//! when its session is.

use gateway_tests::{
    KEYS, Node, Setup,
    discord::{DiscordClient, Guild},
    key, publish,
};
use serde_json::{Value, json};

const V10: &str = "v=10&encoding=json";
/// Presences and voice states alone.
const SEES: u64 = 1 << 8 | 1 << 7;

fn setup() -> Setup {
    let applications = "[[applications]]\nid = \"utilbot\"\nmax_concurrency = 1000\n";
    Setup::new().file(&format!("{applications}{KEYS}"))
}

async fn session(node: &Node, intents: u64) -> (DiscordClient, String) {
    let (client, ready) = DiscordClient::session(node, V10, &key("bot"), intents).await;
    (client, ready["session_id"].as_str().expect("an id").to_owned())
}

/// Lets every node that has a session know a guild.
async fn enters(node: &Node, guild: &Guild) {
    publish(node, &key("root"), &guild.create()).await;
}

async fn shows(client: &mut DiscordClient, status: &str) {
    let activities = json!([{ "name": "a test", "type": 0 }]);
    let d = json!({ "status": status, "activities": activities, "since": null, "afk": false });
    client.send(3, &d).await;
}

async fn speaks(client: &mut DiscordClient, guild: &Guild, channel: Option<&str>) {
    let d = json!({ "guild_id": guild.id, "channel_id": channel, "self_mute": false, "self_deaf": true });
    client.send(4, &d).await;
}

/// The next dispatch tells of this status in this guild.
async fn sees(watcher: &mut DiscordClient, guild: &Guild, status: &str) -> Value {
    let d = watcher.expect_dispatch("PRESENCE_UPDATE").await;
    assert_eq!(
        (&d["guild_id"], &d["status"]),
        (&json!(guild.id), &json!(status)),
        "{d}"
    );
    d
}

/// The next dispatch tells that the bot is in this channel.
async fn hears(watcher: &mut DiscordClient, guild: &Guild, channel: Option<&str>) -> Value {
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
    let guilds = [Guild::new(0, 2), Guild::new(1, 2)];
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
async fn a_session_that_cannot_be_resumed_any_more_is_seen_no_more() {
    let node = setup().set("session.resume_window_ms", 1500).start().await;
    let guild = Guild::new(1, 2);
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
