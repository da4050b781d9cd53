//! The list of nodes: through a kill, a drain and a rolling restart it has what lives, and the right sums.

use std::{collections::BTreeMap, time::Duration};

use gateway_harness::{NodeProcess, RedisProcess, V1Client, WAIT, eventually, full_setup, get, key, ready, request};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(2);
/// How old the numbers of another node may be: it publishes them each second.
const STALE: Duration = Duration::from_millis(1500);
/// How often the lists are read.
const LOOK: Duration = Duration::from_millis(10);

async fn node(redis: &RedisProcess, name: &str) -> NodeProcess {
    let setup = full_setup()
        .redis(&redis.url())
        .set("node.name", name)
        .set("cluster.lease_ms", LEASE.as_millis())
        .set("drain.spread_ms", 200);
    let node = setup.start().await;
    ready(&node).await;
    node
}

/// What a node says about the cluster: the state and the sessions of each node, and the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picture {
    nodes: BTreeMap<String, (String, u64)>,
    sessions: u64,
}

impl Picture {
    fn read(body: &Value) -> Self {
        let node = |node: &Value| {
            let state = node["state"].as_str().unwrap().to_owned();
            let name = node["node"].as_str().unwrap().to_owned();
            (name, (state, node["sessions"].as_u64().unwrap()))
        };
        let nodes = body["nodes"].as_array().unwrap_or_else(|| panic!("{body}"));
        let picture = Self {
            nodes: nodes.iter().map(node).collect(),
            sessions: body["sessions"].as_u64().unwrap(),
        };
        assert_eq!(nodes.len(), picture.nodes.len(), "a node is listed twice: {body}");
        let live = picture.nodes.values().map(|(_, sessions)| sessions);
        assert_eq!(live.sum::<u64>(), picture.sessions, "{body}");
        for (state, sessions) in picture.nodes.values() {
            assert!(state == "live" || *sessions == 0, "{body}");
        }
        picture
    }

    /// Reads both lists of a node.
    async fn both(node: &NodeProcess) -> [Self; 2] {
        let health = get(node, "/health").await.json();
        [Self::read(&health["cluster"]), Self::of_api(node).await]
    }

    /// Reads the list that a key with `read` gets.
    async fn of_api(node: &NodeProcess) -> Self {
        let bearer = format!("Bearer {}", key("root"));
        let headers = [("authorization", bearer.as_str())];
        let answer = request(node.address(), "GET", "/api/v1/cluster", &headers, "").await;
        Self::read(&answer.json())
    }

    fn of(nodes: &[(&str, &str, u64)]) -> Self {
        let entries = nodes.iter();
        Self {
            sessions: nodes.iter().map(|(.., sessions)| sessions).sum(),
            nodes: entries
                .map(|(name, state, sessions)| ((*name).to_owned(), ((*state).to_owned(), *sessions)))
                .collect(),
        }
    }
}

/// Waits until both lists of a node are as expected.
async fn becomes(node: &NodeProcess, expected: &[(&str, &str, u64)]) {
    let expected = Picture::of(expected);
    eventually("both lists are right", async || {
        let both = Picture::both(node).await;
        both.iter().all(|picture| *picture == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_is_gone_at_once() {
    let redis = RedisProcess::start().await;
    let (mut leaving, staying) = (node(&redis, "leaving").await, node(&redis, "staying").await);
    let _bot = V1Client::session(&leaving, "bot", &key("bot")).await;
    let _other = V1Client::session(&staying, "bot", &key("bot")).await;
    becomes(&staying, &[("leaving", "live", 1), ("staying", "live", 1)]).await;
    assert!(leaving.stop().await.success());
    let expected = Picture::of(&[("staying", "live", 1)]);
    assert_eq!(Picture::of_api(&staying).await, expected);
    // It stays gone, although its lease has not ended yet.
    let until = Instant::now() + 2 * LEASE;
    sleep(STALE).await;
    while Instant::now() < until {
        for picture in Picture::both(&staying).await {
            assert_eq!(picture, expected);
        }
        sleep(LOOK).await;
    }
}

#[tokio::test]
async fn a_node_that_dies_is_marked_after_its_lease_and_gone_one_lease_later() {
    let redis = RedisProcess::start().await;
    let (mut dying, staying) = (node(&redis, "dying").await, node(&redis, "staying").await);
    let _bot = V1Client::session(&dying, "bot", &key("bot")).await;
    becomes(&staying, &[("dying", "live", 1), ("staying", "live", 0)]).await;
    // A node judges others only after a whole lease of its own connection.
    sleep(LEASE).await;
    dying.signal(Signal::SIGKILL);
    dying.ended(WAIT).await;
    let killed = Instant::now();
    becomes(&staying, &[("dying", "dead", 0), ("staying", "live", 0)]).await;
    let marked = killed.elapsed();
    assert!(marked <= LEASE + STALE + WAIT / 10, "marked after {marked:?}");
    becomes(&staying, &[("staying", "live", 0)]).await;
    let gone = killed.elapsed();
    assert!(gone >= LEASE, "gone after {gone:?}");
    println!("marked as dead after {marked:?}, gone after {gone:?}");
}

#[tokio::test]
async fn a_rolling_restart_lists_each_node_once_at_any_time() {
    let redis = RedisProcess::start().await;
    let names = ["one", "two", "three"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(node(&redis, name).await);
    }
    let watcher = node(&redis, "watcher").await;
    let _bot = V1Client::session(&watcher, "bot", &key("bot")).await;
    let all = |one, two, three| {
        [
            ("one", "live", one),
            ("three", "live", three),
            ("two", "live", two),
            ("watcher", "live", 1),
        ]
    };
    becomes(&watcher, &all(0, 0, 0)).await;
    let mut looks = 0;
    for (index, name) in names.into_iter().enumerate() {
        let restart = async {
            assert!(nodes[index].stop().await.success());
            nodes[index] = node(&redis, name).await;
        };
        let mut restart = std::pin::pin!(restart);
        loop {
            tokio::select! {
                () = &mut restart => break,
                () = sleep(LOOK) => {}
            }
            for picture in Picture::both(&watcher).await {
                looks += 1;
                let listed: Vec<_> = picture.nodes.keys().map(String::as_str).collect();
                let others = all(0, 0, 0).map(|(name, ..)| name);
                assert!(listed.iter().all(|name| others.contains(name)), "{picture:?}");
                assert!(listed.len() >= 3, "{picture:?}");
                assert_eq!(picture.sessions, 1, "{picture:?}");
                assert!(picture.nodes.values().all(|(state, _)| state == "live"), "{picture:?}");
            }
        }
        becomes(&watcher, &all(0, 0, 0)).await;
    }
    assert!(looks > 0, "every node restarted before anyone looked");
}
