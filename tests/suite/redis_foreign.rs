//! Another program writes to the log and the channel of a busy cluster: events flow again within three seconds, and whoever has
//! lost one is told to connect again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use gateway_harness::{NodeProcess, RedisProcess, V1Client, full_setup, key, ready, request, within, within_time};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long events may stand still.
const STANDSTILL: Duration = Duration::from_secs(3);

const HEAD: &str = "utilbot:{utilbot}:log:head";
const LOG: &str = "utilbot:{utilbot}:log";

/// Two nodes, to which events are published without a pause.
struct Busy {
    server: RedisProcess,
    nodes: [NodeProcess; 2],
    published: Arc<AtomicU64>,
    /// Aborted when it is dropped.
    _publishing: JoinSet<()>,
}

impl Busy {
    async fn start() -> Self {
        let server = RedisProcess::start().await;
        let setup = || {
            full_setup()
                .redis(&server.url())
                .set("cluster.lease_ms", 1000)
                .set("drain.spread_ms", 100)
                .set("limits.publish_events_per_minute", 1_000_000)
        };
        let nodes = [setup().start().await, setup().start().await];
        let (published, mut publishing) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for node in &nodes {
            ready(node).await;
            let (address, published) = (node.address(), Arc::clone(&published));
            publishing.spawn(async move {
                let bearer = format!("Bearer {}", key("service"));
                let headers = [("authorization", &*bearer), ("content-type", "application/json")];
                loop {
                    let event = json!({ "t": "announce", "d": { "n": published.fetch_add(1, SeqCst) } }).to_string();
                    let answer = request(address, "POST", "/api/v1/events", &headers, &event).await;
                    assert_eq!(answer.status, 202, "{answer:?}");
                }
            });
        }
        Self {
            server,
            nodes,
            published,
            _publishing: publishing,
        }
    }

    async fn clients(&self) -> [V1Client; 2] {
        let key = key("website");
        let [one, other] = &self.nodes;
        [
            V1Client::session(one, "website", &key).await,
            V1Client::session(other, "website", &key).await,
        ]
    }

    /// Publishes a false message about the entry that is so far behind the log's last one. Returns how many nodes hear it.
    async fn forge(&self, ahead: u64) -> u64 {
        let channel = self
            .server
            .cli(&["PUBSUB", "CHANNELS", "utilbot:{utilbot}:events*"])
            .await;
        // The channel's name ends with what its messages begin with, if they carry an identity.
        let prefix = match channel.split_once("events:") {
            Some((_, identity)) => format!("{identity} "),
            None => String::new(),
        };
        // In one script, so that nothing is appended in between.
        let script = "local head = redis.call('HMGET', KEYS[1], 'epoch', 'top') \
                      local line = head[1] .. ' ' .. string.format('%.0f', head[2] + ARGV[2]) \
                      return redis.call('PUBLISH', ARGV[1], ARGV[3] .. line .. '\\n' .. ARGV[4])";
        let body = "a 255 - - 0 8\nannounce{\"n\":-1}";
        let heard = self
            .server
            .cli(&["EVAL", script, "1", HEAD, &channel, &ahead.to_string(), &prefix, body])
            .await;
        heard.parse().expect("a number of subscribers")
    }

    /// Waits until a client has an event that is published from now on. False where it is told to connect again first.
    async fn goes_on(&self, client: &mut V1Client) -> bool {
        let from = self.published.load(SeqCst) + 2;
        let going_on = async {
            loop {
                let text = match client.next_text().await {
                    Ok(text) => text,
                    Err(code) => panic!("closed with {code:?} and without a word"),
                };
                let message: Value = serde_json::from_str(&text).unwrap();
                match message["d"]["n"].as_i64() {
                    Some(number) if number >= from.cast_signed() => return true,
                    Some(_) => {}
                    None => {
                        assert_eq!(message["e"], 1000, "{message}");
                        assert_eq!(client.closed().await, 1012);
                        return false;
                    }
                }
            }
        };
        let began = Instant::now();
        let goes_on = within_time("an event", STANDSTILL, going_on).await;
        println!(
            "{} after {:?}",
            if goes_on { "an event" } else { "told to connect again" },
            began.elapsed()
        );
        goes_on
    }
}

#[tokio::test]
async fn a_message_about_an_entry_a_million_ahead_disturbs_nobody() {
    let cluster = Busy::start().await;
    let mut clients = cluster.clients().await;
    for _ in 0..3 {
        assert_eq!(cluster.forge(1_000_000).await, 2, "both nodes are subscribed");
        for client in &mut clients {
            assert!(cluster.goes_on(client).await);
        }
    }
}

#[tokio::test]
async fn a_false_message_in_the_place_of_the_next_entry_is_told_and_events_go_on() {
    let cluster = Busy::start().await;
    let mut clients = cluster.clients().await;
    assert_eq!(cluster.forge(1).await, 2, "both nodes are subscribed");
    within("clients that are told", async {
        loop {
            for client in &mut clients {
                if !cluster.goes_on(client).await {
                    return;
                }
            }
            // A node that is behind reads the true entry from the log instead. One whose client was told just now, and has
            // left, does not hear this one.
            cluster.forge(1).await;
        }
    })
    .await;
    // The other node may tell its sessions up to a second later.
    for node in &cluster.nodes {
        let going_on = async {
            loop {
                let mut client = V1Client::session(node, "website", &key("website")).await;
                if cluster.goes_on(&mut client).await {
                    return;
                }
            }
        };
        within("a session that goes on", Box::pin(going_on)).await;
    }
}

#[tokio::test]
async fn entries_of_another_program_disturb_nobody() {
    let cluster = Busy::start().await;
    let mut clients = cluster.clients().await;
    for id in ["5000000-1", "18446744073709551615-1", "*"] {
        let added = cluster.server.cli(&["XADD", LOG, id, "e", "x"]).await;
        assert!(added.contains('-'), "{id}: {added}");
        for client in &mut clients {
            assert!(cluster.goes_on(client).await, "{id}");
        }
    }
    for node in &cluster.nodes {
        node.logged("another program has added entries").await;
        // Once a minute at most.
        assert_eq!(node.log().matches("another program has added entries").count(), 1);
    }
}
