//! Presences and voice states of bots, and their removal once the session has ended.

use super::*;
use crate::registry::EndReason;

const PRESENCES: u64 = 1 << 8;
const VOICE_STATES: u64 = 1 << 7;
/// Longer than the pause between two batches of updates.
const TURN: Duration = Duration::from_millis(101);

fn presence(status: &str) -> Value {
    json!({"op": 3, "d": {"status": status, "since": null, "activities": [{"name": "a", "type": 0}], "afk": false}})
}

fn voice(guild: u64, channel: Option<u64>) -> Value {
    let channel = channel.map(|channel| channel.to_string());
    json!({"op": 4, "d": {"guild_id": guild.to_string(), "channel_id": channel, "self_mute": true, "self_deaf": false}})
}

/// Publishes guilds with these ids. The bot is a member of each.
async fn with_guilds(node: &DiscordTestNode, ids: impl IntoIterator<Item = u64>) {
    let bot = node.worker.app.applications.get("utilbot").unwrap().bot_id.to_string();
    for id in ids {
        let member = json!({"user": {"id": bot, "username": "bot"}, "nick": "b"});
        let d = json!({"id": id.to_string(), "members": [member], "member_count": 1});
        node.publish("GUILD_CREATE", &d).await;
    }
}

impl DiscordTestClient {
    /// Returns the guild and status of each presence update received.
    fn statuses(&self) -> Vec<(String, String)> {
        self.published("PRESENCE_UPDATE", "guild_id", "status")
    }

    fn published(&self, name: &str, first: &str, second: &str) -> Vec<(String, String)> {
        let published = self.seen.iter().filter(|it| it["t"] == name);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        published
            .map(|it| (text(&it["d"][first]), text(&it["d"][second])))
            .collect()
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(one, two)| ((*one).to_owned(), (*two).to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn presences_reach_sessions_with_the_intent_in_each_guild() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7, 8]).await;
        let (mut watcher, _) = node.identified(PRESENCES).await;
        let (mut blind, _) = node.identified(VOICE_STATES).await;
        let (mut bot, _) = node.identified(0).await;
        bot.send(&presence("idle")).await;
        watcher.settle().await;
        let d = &watcher.seen.last().unwrap()["d"];
        let expected = json!({
            "user": {"id": node.worker.app.applications.get("utilbot").unwrap().bot_id.to_string()},
            "guild_id": "8", "status": "idle", "activities": [{"name": "a", "type": 0}],
            "client_status": {"web": "idle"},
        });
        assert_eq!(d, &expected);
        assert_eq!(watcher.statuses(), pairs(&[("7", "idle"), ("8", "idle")]));
        blind.settle().await;
        assert_eq!(blind.dispatches(), numbered(&[(1, "READY")]));
        // A presence is not published again to a guild that has it, only to a guild that does not.
        with_guilds(&node, [9]).await;
        bot.after(TURN).await;
        bot.send(&presence("idle")).await;
        bot.after(TURN).await;
        watcher.settle().await;
        assert_eq!(watcher.statuses()[2..], pairs(&[("9", "idle")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_presence_in_identify_is_published_unless_invisible() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7]).await;
        let (mut watcher, _) = node.identified(PRESENCES).await;
        for (status, seen) in [("invisible", 0), ("dnd", 1), ("invisible", 2)] {
            let mut bot = node.connect().await;
            let mut identify = identify(0);
            identify["d"]["presence"] = json!({"status": status, "game": {"name": "b", "type": 0}});
            if status == "invisible" {
                identify["d"]["presence"]["game"] = Value::Null;
            }
            bot.send(&identify).await;
            bot.after(TURN).await;
            watcher.settle().await;
            assert_eq!(watcher.statuses().len(), seen, "{status}");
            // The session stays resumable without its connection.
            bot.cut().await;
        }
        assert_eq!(watcher.statuses(), pairs(&[("7", "dnd"), ("7", "offline")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_presence_over_the_limit_is_published() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7]).await;
        let (mut watcher, _) = node.identified(PRESENCES).await;
        let (mut bot, _) = node.identified(0).await;
        for n in 0..20 {
            bot.send(&presence(if n % 2 == 0 { "idle" } else { "dnd" })).await;
            bot.after(TURN).await;
        }
        watcher.settle().await;
        assert_eq!(watcher.statuses().len(), 5);
        bot.after(Duration::from_secs(20)).await;
        watcher.settle().await;
        assert_eq!(watcher.statuses()[4..], pairs(&[("7", "idle"), ("7", "dnd")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_voice_state_is_published_in_a_guild_of_the_session() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7]).await;
        let (mut bot, id) = node.identified(VOICE_STATES).await;
        bot.send(&voice(8, Some(80))).await;
        bot.send(&voice(7, Some(70))).await;
        bot.after(TURN).await;
        let user = node.worker.app.applications.get("utilbot").unwrap().bot_id.to_string();
        let d = &bot.seen.last().unwrap()["d"];
        let expected = json!({
            "guild_id": "7", "channel_id": "70", "user_id": user, "session_id": id, "deaf": false, "mute": false,
            "member": {"user": {"id": user, "username": "bot"}, "nick": "b"}, "self_deaf": false, "self_mute": true,
            "self_video": false, "suppress": false, "request_to_speak_timestamp": null,
        });
        assert_eq!(d, &expected);
        // Fields that others have set are kept, and the bot's own state is published again.
        let mut muted = expected.clone();
        muted["mute"] = json!(true);
        node.publish("VOICE_STATE_UPDATE", &muted).await;
        bot.send(&voice(7, Some(70))).await;
        bot.after(TURN).await;
        assert_eq!(bot.seen.last().unwrap()["d"]["mute"], true);
        bot.send(&voice(7, None)).await;
        bot.after(TURN).await;
        assert_eq!(
            bot.published("VOICE_STATE_UPDATE", "guild_id", "channel_id")
                .last()
                .unwrap()
                .1,
            "null"
        );
        assert_eq!(bot.published("VOICE_STATE_UPDATE", "guild_id", "channel_id").len(), 4);
    })
    .await;
}

/// Returns whether guild 7 shows the bot as online, and in a voice channel.
fn seen(node: &DiscordTestNode) -> (bool, bool) {
    let viewer = crate::guilds::Viewer {
        intents: shared::discord::Intents::ALL,
        user: node.worker.app.applications.get("utilbot").unwrap().bot_id,
        large_threshold: 50,
    };
    let seen = node.registry.guilds("utilbot", None, |guilds| {
        let (_, voice) = guilds.speaker(7, viewer.user).unwrap();
        let mut picture = crate::guilds::Picture::new(7, viewer);
        while !guilds.draw(&mut picture) {}
        let (_, text) = picture.finish();
        (!text.contains("\"presences\":[]"), voice.is_some())
    });
    seen.expect("a single node knows its guilds")
}

/// Returns the client and id of a session that is online and in a voice channel.
async fn appears(node: &DiscordTestNode) -> (DiscordTestClient, String) {
    let (mut bot, id) = node.identified(0).await;
    bot.send(&presence("online")).await;
    bot.send(&voice(7, Some(70))).await;
    bot.after(TURN).await;
    assert_eq!(seen(node), (true, true));
    (bot, id)
}

impl DiscordTestClient {
    /// Ends the connection, with this code if the client closed it, and lets the resulting updates be published.
    async fn ends(mut self, code: Option<u16>) {
        self.inbox.send(Inbound::Gone(code)).unwrap();
        self.after(TURN).await;
        self.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn ended_sessions_go_offline_and_resumable_ones_stay_online() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7]).await;
        let (bot, _) = appears(&node).await;
        bot.ends(Some(1000)).await;
        assert_eq!(seen(&node), (false, false));
        let (bot, id) = appears(&node).await;
        bot.ends(None).await;
        let mut again = node.resumed(&id, 1).await;
        again.after(Duration::from_secs(62)).await;
        assert_eq!(seen(&node), (true, true), "it was resumed");
        again.ends(None).await;
        let mut clock = node.connect().await;
        clock.after(Duration::from_secs(58)).await;
        assert_eq!(seen(&node), (true, true), "it may still be resumed");
        clock.after(Duration::from_secs(4)).await;
        clock.after(TURN).await;
        assert_eq!(seen(&node), (false, false));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bot_with_another_session_keeps_its_presence_but_not_its_voice_state() {
    on(DiscordTestNode::new, async |node| {
        with_guilds(&node, [7]).await;
        let (mut other, _) = node.identified(0).await;
        let (bot, _) = appears(&node).await;
        bot.ends(Some(1001)).await;
        assert_eq!(seen(&node), (true, false));
        node.registry.end_reason(EndReason::Kicked, Duration::ZERO);
        other.after(TURN).await;
        assert_eq!(seen(&node), (false, false));
    })
    .await;
}
