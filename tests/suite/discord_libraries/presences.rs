//! Presence and voice state of a bot, as another session of the same bot receives them.

use gateway_harness::{
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, publish_guild, setup, start};

/// The resume window in milliseconds, longer than a reconnect takes. discord.py closes with 4000 when it quits, so its
/// session ends only when this window expires.
const RESUME_WINDOW_MS: u64 = 6000;

/// Reads until the library emits this event for the bot in the guild.
async fn expect_emitted(bot: &mut Bot, event: &str, guild: &TestGuild, user: &Value, field: &str, value: Value) {
    let what = format!("{event}: {field} {value}");
    let is_it = |line: &Value| {
        let is_theirs = line["guild"] == guild.id && line["user"] == *user;
        line["event"] == event && is_theirs && line[field] == value
    };
    bot.until(&what, is_it).await;
}

/// A bot on `library` changes its presence and voice channel, and a watcher on the library `by` receives the changes.
async fn updates_are_received(library: Library, by: Library) {
    let node = setup().set("session.resume_window_ms", RESUME_WINDOW_MS).start().await;
    let guild = TestGuild::new(0, 2);
    let mut watcher = start(by, node.address(), BotOptions::compressed("zlib-stream"));
    let user = watcher.event("ready").await["user"].clone();
    watcher.event("client_ready").await;
    publish_guild(&mut watcher, &node, &guild).await;
    let welcome = guild.welcome(user.as_str().expect("an id is a string"));
    publish(&node, &key("root"), &welcome).await;
    watcher.dispatch("GUILD_MEMBER_ADD").await;

    let mut bot = start(library, node.address(), BotOptions::compressed("zlib-stream"));
    let session = bot.event("ready").await["session"].clone();
    bot.event("client_ready").await;
    for status in ["dnd", "idle"] {
        bot.tell(&format!("presence {status}")).await;
        expect_emitted(&mut watcher, "presence", &guild, &user, "status", json!(status)).await;
    }
    bot.tell("presence invisible").await;
    expect_emitted(&mut watcher, "presence", &guild, &user, "status", json!("offline")).await;
    for channel in [Some(&guild.channel), None, Some(&guild.channel)] {
        let to = channel.map_or("", |channel| channel);
        bot.tell(format!("voice {} {to}", guild.id).trim_end()).await;
        for one in [&mut bot, &mut watcher] {
            let update = one.dispatch("VOICE_STATE_UPDATE").await;
            assert_eq!(
                (&update["d"]["session_id"], &update["d"]["self_mute"]),
                (&session, &json!(true))
            );
            expect_emitted(one, "voice", &guild, &user, "channel", json!(channel)).await;
        }
    }
    // A lost connection changes neither, and quitting leaves the voice channel.
    bot.tell("drop").await;
    bot.event("resumed").await;
    bot.tell("presence online").await;
    expect_emitted(&mut watcher, "presence", &guild, &user, "status", json!("online")).await;
    let voices = watcher.all("voice").len();
    bot.quit().await;
    expect_emitted(&mut watcher, "voice", &guild, &user, "channel", Value::Null).await;
    assert_eq!(watcher.all("voice").len(), voices + 1);
    watcher.quit().await;
}

#[tokio::test]
async fn discord_py_receives_presence_and_voice_state_of_discord_js() {
    updates_are_received(DiscordJs, DiscordPy).await;
}

#[tokio::test]
async fn discord_js_receives_presence_and_voice_state_of_discord_py() {
    updates_are_received(DiscordPy, DiscordJs).await;
}
