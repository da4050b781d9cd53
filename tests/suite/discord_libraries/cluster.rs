//! Bots on three nodes that share a Redis. All that a bot knows is the balancer before them; its node is killed, and that
//! of its session afterwards, while somebody publishes without a pause.

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

/// Between two messages.
const PACE: Duration = Duration::from_millis(10);
/// Before an event that was not accepted is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// Messages that everybody hears while nothing goes wrong.
const CALM: u64 = 30;
/// How long a bot may take to hear of it, find its way and have heard what it missed: a library waits for as long as it
/// likes before it connects again.
const MOVING: Duration = Duration::from_secs(40);

struct Cluster {
    _redis: RedisProcess,
    /// `None` where a node was killed.
    nodes: [Option<NodeProcess>; 3],
    balancer: Balancer,
}

impl Cluster {
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

    /// The node that a session is on, once it is on one.
    async fn home(&self, session: &Value) -> usize {
        let bearer = format!("Bearer {}", key("root"));
        let headers = [("authorization", bearer.as_str())];
        eventually(&format!("a node with the session {session}"), async || {
            for (place, node) in self.nodes.iter().enumerate() {
                let Some(node) = node else { continue };
                let answer = request(node.address(), "GET", "/api/v1/sessions", &headers, "")
                    .await
                    .json();
                let sessions = answer["sessions"].as_array().expect("a list");
                if sessions.iter().any(|listed| listed["id"] == *session) {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    async fn kill(&mut self, place: usize) {
        let mut node = self.nodes[place].take().expect("a node is killed once");
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
    }
}

/// Publishes an event until it is accepted, wherever the balancer leads: once, since it is named.
async fn publish(balancer: SocketAddr, name: &str, event: &Value) {
    let bearer = format!("Bearer {}", key("root"));
    let headers = [("authorization", &*bearer), ("idempotency-key", name)];
    let event = event.to_string();
    within_time(&format!("{name} is accepted"), MOVING, async {
        while !matches!(ask(balancer, "POST", "/api/v1/events", &headers, &event).await, Ok(answer) if answer.status == 202)
        {
            sleep(PAUSE).await;
        }
    })
    .await;
}

fn content(number: u64) -> String {
    format!("message {number}")
}

/// Somebody who publishes numbered messages, one after the other.
struct Publisher {
    published: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl Publisher {
    fn start(balancer: SocketAddr, guild: TestGuild) -> Self {
        let (count, published) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut number = 0;
            loop {
                pace.tick().await;
                // One more than anybody can have heard before.
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

    /// How many there were, once no more come.
    async fn stop(self) -> u64 {
        self.stop.send_replace(true);
        within("the last message", self.task).await.expect("the publisher")
    }
}

/// Reads on to this message.
async fn reaches(bot: &mut Bot, number: u64) {
    let expected = json!(content(number));
    bot.until_within(&format!("message {number}"), MOVING, |line| {
        line["event"] == "dispatch" && line["t"] == "MESSAGE_CREATE" && line["d"]["content"] == expected
    })
    .await;
}

/// Every message came once, in order, as it was published, under numbers without a gap, and was understood once; in one
/// session, which never had to begin anew.
fn has_lost_nothing(bot: &Bot, first: &Value, guild: &TestGuild, last: u64) {
    let heard: Vec<Value> = bot
        .all("dispatch")
        .into_iter()
        .filter(|line| line["t"] == "MESSAGE_CREATE")
        .map(|mut line| line["d"].take())
        .collect();
    for (number, d) in (1..).zip(&heard) {
        assert_eq!(*d, guild.message(number, &content(number)));
    }
    assert_eq!(heard.len() as u64, last);
    bot.assert_gapless(&first["shard"]);
    let understood = bot.all("message").into_iter().map(|mut line| line["content"].take());
    assert!(understood.eq((1..=last).map(|number| json!(content(number)))));
    for (event, times) in [("ready", 1), ("identify", 1), ("op", 0)] {
        assert_eq!(bot.all(event).len(), times, "{event}: {:?}", bot.all(event));
    }
    assert!(!bot.all("resume").is_empty());
}

/// The bots are on whatever nodes the balancer has chosen. One after the other loses its node; each has heard everything in
/// the end.
async fn outlive_their_nodes<const BOTS: usize>(bots: [(Library, &'static str); BOTS]) {
    let mut cluster = Cluster::start().await;
    let balancer = cluster.balancer.address();
    let guild = TestGuild::new(0, 3);
    let mut lives = Vec::new();
    for (library, compression) in bots {
        let mut bot = start(library, balancer, BotOptions::compressed(compression));
        let first = bot.event("ready").await;
        assert_eq!(first["resume_url"], format!("ws://{balancer}"));
        bot.event("client_ready").await;
        lives.push((bot, first));
    }
    let created = guild.create();
    publish(balancer, "guild", &created).await;
    for (bot, _) in &mut lives {
        assert_eq!(bot.dispatch("GUILD_CREATE").await["d"], created["d"]);
    }

    let publisher = Publisher::start(balancer, guild.clone());
    for (bot, _) in &mut lives {
        reaches(bot, CALM).await;
    }
    for moved in 0..BOTS {
        let dying = cluster.home(&lives[moved].1["session"]).await;
        let mut homes = Vec::new();
        for (_, first) in &lives {
            homes.push(cluster.home(&first["session"]).await);
        }
        cluster.kill(dying).await;
        for ((bot, first), home) in lives.iter_mut().zip(&homes) {
            if *home == dying {
                bot.until_within("RESUMED", MOVING, |line| {
                    line["event"] == "dispatch" && line["t"] == "RESUMED"
                })
                .await;
            }
            // The dead node is not asked any more, so whoever was there is on another now.
            let now = cluster.home(&first["session"]).await;
            assert_eq!(
                now == *home,
                *home != dying,
                "from {home} to {now}, and {dying} has died"
            );
        }
        let next = *publisher.published.borrow() + CALM;
        for (bot, _) in &mut lives {
            reaches(bot, next).await;
        }
    }
    let last = publisher.stop().await;
    for (mut bot, first) in lives {
        reaches(&mut bot, last).await;
        // What a library understands it may tell a moment after it has heard it.
        let understood = json!(content(last));
        bot.until("the last message, understood", |line| {
            line["event"] == "message" && line["content"] == understood
        })
        .await;
        has_lost_nothing(&bot, &first, &guild, last);
        bot.quit().await;
    }
}

#[tokio::test]
async fn discord_js_and_discord_py_outlive_the_death_of_their_node_behind_a_balancer() {
    outlive_their_nodes([(DiscordJs, "none"), (DiscordPy, "zstd-stream")]).await;
}

#[tokio::test]
async fn discord_js_and_discord_py_outlive_the_death_of_their_node_behind_a_balancer_in_zlib_streams() {
    outlive_their_nodes([(DiscordJs, "zlib-stream"), (DiscordPy, "zlib-stream")]).await;
}
