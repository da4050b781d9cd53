//! A bot as another session of its sees it: the presence that it shows, the channel that it is in, and that it has left.

use gateway_harness::{
    discord::{Bot, BotOptions, Library, TestGuild},
    key, publish,
};
use serde_json::{Value, json};

use super::{DiscordJs, DiscordPy, enters, setup, start};

/// discord.py closes with 4000 when it says goodbye: its session is over when it has not been resumed for so long. Longer
/// than it takes to connect again.
const RESUME_WINDOW_MS: u64 = 6000;

/// Reads on until the library has understood this of the bot in the guild.
async fn understands(bot: &mut Bot, event: &str, guild: &TestGuild, user: &Value, field: &str, value: Value) {
    let what = format!("{event}: {field} {value}");
    let is_it = |line: &Value| {
        let is_theirs = line["guild"] == guild.id && line["user"] == *user;
        line["event"] == event && is_theirs && line[field] == value
    };
    bot.until(&what, is_it).await;
}

/// One library shows a presence and speaks, and another one sees and hears it.
async fn is_seen(library: Library, by: Library) {
    let node = setup().set("session.resume_window_ms", RESUME_WINDOW_MS).start().await;
    let guild = TestGuild::new(0, 2);
    let mut watcher = start(by, node.address(), BotOptions::compressed("zlib-stream"));
    let user = watcher.event("ready").await["user"].clone();
    watcher.event("client_ready").await;
    enters(&mut watcher, &node, &guild).await;
    let welcome = guild.welcome(user.as_str().expect("an id is a string"));
    publish(&node, &key("root"), &welcome).await;
    watcher.dispatch("GUILD_MEMBER_ADD").await;

    let mut bot = start(library, node.address(), BotOptions::compressed("zlib-stream"));
    let session = bot.event("ready").await["session"].clone();
    bot.event("client_ready").await;
    for status in ["dnd", "idle"] {
        bot.tell(&format!("presence {status}")).await;
        understands(&mut watcher, "presence", &guild, &user, "status", json!(status)).await;
    }
    bot.tell("presence invisible").await;
    understands(&mut watcher, "presence", &guild, &user, "status", json!("offline")).await;
    for channel in [Some(&guild.channel), None, Some(&guild.channel)] {
        let to = channel.map_or("", |channel| channel);
        bot.tell(format!("voice {} {to}", guild.id).trim_end()).await;
        for one in [&mut bot, &mut watcher] {
            let told = one.dispatch("VOICE_STATE_UPDATE").await;
            assert_eq!(
                (&told["d"]["session_id"], &told["d"]["self_mute"]),
                (&session, &json!(true))
            );
            understands(one, "voice", &guild, &user, "channel", json!(channel)).await;
        }
    }
    // A lost connection changes nothing of it, and a goodbye does.
    bot.tell("drop").await;
    bot.event("resumed").await;
    bot.tell("presence online").await;
    understands(&mut watcher, "presence", &guild, &user, "status", json!("online")).await;
    let voices = watcher.all("voice").len();
    bot.quit().await;
    understands(&mut watcher, "voice", &guild, &user, "channel", Value::Null).await;
    assert_eq!(watcher.all("voice").len(), voices + 1);
    watcher.quit().await;
}

#[tokio::test]
async fn discord_js_is_seen_by_discord_py() {
    is_seen(DiscordJs, DiscordPy).await;
}

#[tokio::test]
async fn discord_py_is_seen_by_discord_js() {
    is_seen(DiscordPy, DiscordJs).await;
}
