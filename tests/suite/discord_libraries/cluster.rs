//! Bots on three nodes that share a Redis. The bots know only the balancer. Their nodes are killed one after the other
//! while events are published continuously.

use std::{net::SocketAddr, time::Duration};

use gateway_harness::{
    Balancer, NodeProcess, RedisProcess, WAIT, ask,
    discord::{Bot, BotOptions, Library, TestGuild},
    eventually, key, ready, request, within, within_time,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{DiscordJs, DiscordPy, setup, start};

/// The pause between two messages.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(10);
/// The pause before a publish that was not accepted is retried.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// How many messages every bot receives before the first fault, and after each one.
const MESSAGES_BETWEEN_FAULTS: u64 = 30;
/// How long a bot may take to notice a dead node, reconnect and catch up. Libraries choose their own reconnect delays.
const FAILOVER_DEADLINE: Duration = Duration::from_secs(40);

struct BotCluster {
    _redis: RedisProcess,
    /// `None` for a killed node.
    nodes: [Option<NodeProcess>; 3],
    balancer: Balancer,
}

impl BotCluster {
    async fn start() -> Self {
        let redis = RedisProcess::start().await;
        let node = async || {
            let node = setup()
                .redis(&redis.url())
                .set("cluster.lease_ms", 2000)
                .set("server.trusted_proxies", "127.0.0.0/8")
                .start()
                .await;
            ready(&node).await;
            node
        };
        let nodes = [node().await, node().await, node().await];
        let balancer = Balancer::start(nodes.each_ref().map(NodeProcess::address)).await;
        Self {
            _redis: redis,
            nodes: nodes.map(Some),
            balancer,
        }
    }

    /// Waits until a node lists the session. Returns the index of that node.
    async fn home(&self, session: &Value) -> usize {
        let bearer = format!("Bearer {}", key("root"));
        let headers = [("authorization", bearer.as_str())];
        eventually(&format!("a node lists the session {session}"), async || {
            for (place, node) in self.nodes.iter().enumerate() {
                let Some(node) = node else { continue };
                let answer = request(node.address(), "GET", "/api/v1/sessions", &headers, "")
                    .await
                    .json();
                let sessions = answer["sessions"].as_array().expect("a list");
                let is_there = |listed: &Value| listed["id"] == *session && listed["node"] == node.banner()["node"];
                if sessions.iter().any(is_there) {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    async fn kill(&mut self, place: usize) {
        let mut node = self.nodes[place].take().expect("the node was not killed before");
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
    }
}

/// Publishes an event through the balancer, with retries until it is accepted. Its idempotency key keeps it unique.
async fn publish(balancer: SocketAddr, name: &str, event: &Value) {
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", &*bearer), ("idempotency-key", name)];
    let event = event.to_string();
    within_time(&format!("{name} is accepted"), FAILOVER_DEADLINE, async {
        loop {
            let answer = ask(balancer, "POST", "/api/v1/events", &headers, &event).await;
            if answer.is_ok_and(|answer| answer.status == 202) {
                break;
            }
            sleep(RETRY_DELAY).await;
        }
    })
    .await;
}

fn content(number: u64) -> String {
    format!("message {number}")
}

/// A task that publishes numbered messages one after the other.
struct MessagePublisher {
    published: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl MessagePublisher {
    fn start(balancer: SocketAddr, guild: TestGuild) -> Self {
        let (count, published) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut pace = interval(MESSAGE_INTERVAL);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut number = 0;
            loop {
                pace.tick().await;
                // Read before publishing, so that the last message is one that no bot can have received before the
                // stop.
                let is_last = *stopped.borrow();
                number += 1;
                let d = guild.message(number, &content(number));
                let event = json!({ "t": "MESSAGE_CREATE", "to": { "guild": guild.id }, "d": d });
                publish(balancer, &format!("message-{number}"), &event).await;
                count.send_replace(number);
                if is_last {
                    return number;
                }
            }
        });
        Self { published, stop, task }
    }

    /// Stops publishing. Returns the number of messages.
    async fn stop(self) -> u64 {
        self.stop.send_replace(true);
        within("the last message", self.task).await.expect("the publisher")
    }
}

/// Reads the bot's output up to this message.
async fn read_until_message(bot: &mut Bot, number: u64) {
    let expected = json!(content(number));
    bot.until_within(&format!("message {number}"), FAILOVER_DEADLINE, |line| {
        line["event"] == "dispatch" && line["t"] == "MESSAGE_CREATE" && line["d"]["content"] == expected
    })
    .await;
}

/// Asserts that the bot received every message once, in order and unchanged, with contiguous sequence numbers, that the
/// library emitted each one once, and that all of it happened in one session.
fn assert_no_loss(bot: &Bot, first: &Value, guild: &TestGuild, last: u64) {
    let received: Vec<Value> = bot
        .all("dispatch")
        .into_iter()
        .filter(|line| line["t"] == "MESSAGE_CREATE")
        .map(|mut line| line["d"].take())
        .collect();
    for (number, d) in (1..).zip(&received) {
        assert_eq!(*d, guild.message(number, &content(number)));
    }
    assert_eq!(received.len() as u64, last);
    bot.assert_gapless(&first["shard"]);
    let emitted = bot.all("message").into_iter().map(|mut line| line["content"].take());
    assert!(emitted.eq((1..=last).map(|number| json!(content(number)))));
    for (event, times) in [("ready", 1), ("identify", 1), ("op", 0)] {
        assert_eq!(bot.all(event).len(), times, "{event}: {:?}", bot.all(event));
    }
    assert!(!bot.all("resume").is_empty());
}

/// Starts the bots on nodes that the balancer chooses, and kills the node of one bot after the other. In the end every
/// bot has received all messages.
async fn survive_their_nodes<const BOTS: usize>(bots: [(Library, &'static str); BOTS]) {
    let mut cluster = BotCluster::start().await;
    let balancer = cluster.balancer.address();
    let guild = TestGuild::new(0, 3);
    let mut sessions = Vec::new();
    for (library, compression) in bots {
        let mut bot = start(library, balancer, BotOptions::compressed(compression));
        let first = bot.event("ready").await;
        assert_eq!(first["resume_url"], format!("ws://{balancer}"));
        bot.event("client_ready").await;
        sessions.push((bot, first));
    }
    let created = guild.create();
    publish(balancer, "guild", &created).await;
    for (bot, _) in &mut sessions {
        assert_eq!(bot.dispatch("GUILD_CREATE").await["d"], created["d"]);
    }

    let publisher = MessagePublisher::start(balancer, guild.clone());
    for (bot, _) in &mut sessions {
        read_until_message(bot, MESSAGES_BETWEEN_FAULTS).await;
    }
    for moved in 0..BOTS {
        let dying = cluster.home(&sessions[moved].1["session"]).await;
        let mut homes = Vec::new();
        for (_, first) in &sessions {
            homes.push(cluster.home(&first["session"]).await);
        }
        cluster.kill(dying).await;
        for ((bot, first), home) in sessions.iter_mut().zip(&homes) {
            if *home == dying {
                bot.until_within("RESUMED", FAILOVER_DEADLINE, |line| {
                    line["event"] == "dispatch" && line["t"] == "RESUMED"
                })
                .await;
            }
            // `home` skips dead nodes, so a bot of the dead node is on another one now.
            let now = cluster.home(&first["session"]).await;
            assert_eq!(
                now == *home,
                *home != dying,
                "from {home} to {now}, and {dying} has died"
            );
        }
        let next = *publisher.published.borrow() + MESSAGES_BETWEEN_FAULTS;
        for (bot, _) in &mut sessions {
            read_until_message(bot, next).await;
        }
    }
    let last = publisher.stop().await;
    for (mut bot, first) in sessions {
        read_until_message(&mut bot, last).await;
        // A library may emit a message some time after its dispatch.
        let emitted = json!(content(last));
        bot.until("the last message is emitted", |line| {
            line["event"] == "message" && line["content"] == emitted
        })
        .await;
        assert_no_loss(&bot, &first, &guild, last);
        bot.quit().await;
    }
}

#[tokio::test]
async fn discord_js_and_discord_py_survive_the_death_of_their_node_behind_a_balancer() {
    survive_their_nodes([(DiscordJs, "none"), (DiscordPy, "zstd-stream")]).await;
}

#[tokio::test]
async fn discord_js_and_discord_py_survive_the_death_of_their_node_with_zlib_streams() {
    survive_their_nodes([(DiscordJs, "zlib-stream"), (DiscordPy, "zlib-stream")]).await;
}
