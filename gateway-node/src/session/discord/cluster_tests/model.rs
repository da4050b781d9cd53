//! The model of `model_tests`, on two nodes and a Redis: nodes die abruptly, others take over, and Redis is killed
//! during writes.
//!
//! Concurrent events have no order that a model could know. Checked is that a sequence number always stands for the
//! same dispatch, that the numbers have no gaps, and that every published event arrives once and in order.

use std::collections::{BTreeMap, HashSet};

use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use tokio::{
    runtime::Builder,
    task::{LocalSet, yield_now},
};

use super::*;

/// The number of cases. Each takes about a second.
const CASES: u32 = 12;
/// How often a client tries to resume before that counts as a failure.
const TRIES: usize = 20;

#[derive(Debug, Clone)]
enum ClusterAct {
    /// An event that the session receives, published by this node.
    Wanted(usize),
    /// An event that the session does not receive.
    Unwanted(usize),
    /// A private dispatch.
    PrivateRecord,
    /// A heartbeat that acknowledges all but this many of the dispatches that the client has.
    Heartbeat(usize),
    /// The connection breaks, and the last dispatches are lost: this many.
    Cut(usize),
    /// Like `Cut`, because the session's node dies. A new node starts.
    Death(usize),
    /// The client resumes at this node on a new connection, which takes over.
    Resume(usize),
    /// Redis is killed and restarted while this node publishes an event and writes a dispatch for one session alone.
    Kill(usize),
    /// The pub/sub connections are killed: nodes learn of new entries only when they poll.
    Deafen,
}

fn acts() -> impl Strategy<Value = Vec<ClusterAct>> {
    let node = 0_usize..2;
    let act = prop_oneof![
        6 => node.clone().prop_map(ClusterAct::Wanted),
        2 => node.clone().prop_map(ClusterAct::Unwanted),
        3 => Just(ClusterAct::PrivateRecord),
        4 => (0_usize..4).prop_map(ClusterAct::Heartbeat),
        3 => (0_usize..6).prop_map(ClusterAct::Cut),
        1 => (0_usize..6).prop_map(ClusterAct::Death),
        4 => node.clone().prop_map(ClusterAct::Resume),
        1 => node.prop_map(ClusterAct::Kill),
        1 => Just(ClusterAct::Deafen),
    ];
    proptest::collection::vec(act, 5..30)
}

/// Shared by all cases, because starting it takes longer than a case.
struct Cluster {
    server: TestServer,
    nodes: [ClusterMember; 2],
    incarnation: u64,
    /// The number of the last event.
    last: u64,
}

/// One session.
struct ClusterModel<'c> {
    cluster: &'c mut Cluster,
    id: String,
    /// The connection, and the index of its node.
    client: Option<(DiscordTestClient, usize)>,
    /// How many dispatches of the current connection are in `seen`.
    read: usize,
    seen: Vec<String>,
    /// Every dispatch that was ever seen, by its sequence number.
    ever: BTreeMap<u64, String>,
    /// The last dispatch that the client has acknowledged. It never resumes from before it.
    said: usize,
    /// The published events, and those of them whose publication has an unknown outcome.
    published: Vec<u64>,
    doubtful: HashSet<u64>,
}

impl Cluster {
    async fn start() -> Self {
        let server = TestServer::start();
        let nodes = [
            ClusterMember::start(&server, 1).await,
            ClusterMember::start(&server, 2).await,
        ];
        Self {
            server,
            nodes,
            incarnation: 2,
            last: 0,
        }
    }
}

impl<'c> ClusterModel<'c> {
    async fn begin(cluster: &'c mut Cluster) -> Self {
        let (client, id) = cluster.nodes[0].identified().await;
        let mut world = Self {
            cluster,
            id,
            client: Some((client, 0)),
            read: 0,
            seen: Vec::new(),
            ever: BTreeMap::new(),
            said: 0,
            published: Vec::new(),
            doubtful: HashSet::new(),
        };
        world.read();
        world
    }

    /// Reads what the connection has sent. Drops the client if the connection is closed.
    fn read(&mut self) {
        let Some((client, _)) = &self.client else { return };
        for (s, body) in client.dispatches().into_iter().skip(self.read) {
            assert_eq!(s, self.seen.len() as u64 + 1, "{body} after {:?}", self.seen);
            let authenticated = self.ever.entry(s).or_insert_with(|| body.clone());
            assert_eq!(*authenticated, body, "dispatch {s} has changed");
            self.seen.push(body);
            self.read += 1;
        }
        let is_invalid = client.seen.iter().any(|payload| payload["op"] == 9);
        let losses = self
            .cluster
            .nodes
            .iter()
            .map(|node| node.losses.load(Ordering::Relaxed));
        let losses: Vec<_> = losses.collect();
        assert!(
            !is_invalid,
            "not resumed after {:?}; losses per node: {losses:?}",
            self.seen
        );
        if let Some(code) = client.close {
            assert_eq!(code, 4000);
            self.client = None;
        }
    }

    async fn await_published(&mut self, number: u64) {
        if let Some((client, _)) = &mut self.client {
            // An earlier connection may have received it.
            if !self.seen.contains(&number.to_string()) {
                has_or_is_over(client, &number.to_string(), 1).await;
            }
        }
        self.read();
    }

    async fn await_private(&mut self) {
        if let Some((client, _)) = &mut self.client {
            let read = client.dispatches().into_iter().take(self.read);
            let before = read.filter(|(_, body)| body == "CHANNEL_INFO").count();
            has_or_is_over(client, "CHANNEL_INFO", before + 1).await;
        }
        self.read();
    }

    /// The client loses its connection and the last dispatches.
    fn lose(&mut self, dispatches: usize) {
        let has = self.seen.len().saturating_sub(dispatches).max(self.said).max(1);
        self.seen.truncate(has);
    }

    async fn ask_for_private(&mut self) {
        if let Some((client, _)) = &mut self.client {
            client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
        }
    }

    async fn resume(&mut self, at: usize) {
        for attempt in 0..TRIES {
            let node = (at + attempt) % 2;
            let mut client = self.cluster.nodes[node].resumed(&self.id, self.seen.len() as u64).await;
            has_or_is_over(&mut client, "RESUMED", 1).await;
            // The first RESUMED may be an older one that is replayed; then the new one follows.
            client.drive().await;
            self.client = Some((client, node));
            self.read = 0;
            self.read();
            if self.client.is_some() {
                return;
            }
        }
        panic!("the session was not resumed after {TRIES} attempts");
    }

    async fn act(&mut self, act: &ClusterAct) {
        match act {
            ClusterAct::Wanted(node) => {
                self.cluster.last += 1;
                let number = self.cluster.last;
                self.cluster.nodes[*node].publish(number).await.unwrap();
                self.published.push(number);
                self.await_published(number).await;
            }
            ClusterAct::Unwanted(node) => {
                let event = json!({"guild_id": "1"});
                let node = &self.cluster.nodes[*node].node;
                node.try_publish_to("MESSAGE_CREATE", &event, Target::All)
                    .await
                    .unwrap();
            }
            ClusterAct::PrivateRecord => {
                self.ask_for_private().await;
                self.await_private().await;
            }
            ClusterAct::Heartbeat(less) => {
                let has = self.seen.len().saturating_sub(*less);
                if let Some((client, _)) = &mut self.client {
                    client.send(&json!({"op": 1, "d": has})).await;
                    self.said = self.said.max(has);
                }
            }
            ClusterAct::Cut(lost) => {
                if let Some((client, _)) = self.client.take() {
                    client.cut().await;
                    self.lose(*lost);
                }
            }
            ClusterAct::Death(lost) => {
                let dying = self.client.as_ref().map_or(0, |(_, node)| *node);
                self.cluster.nodes[dying].die();
                if let Some((client, _)) = self.client.take() {
                    client.task.abort();
                    self.lose(*lost);
                }
                self.cluster.incarnation += 1;
                let next = ClusterMember::start(&self.cluster.server, self.cluster.incarnation).await;
                self.cluster.nodes[dying] = next;
            }
            ClusterAct::Resume(node) => self.resume(*node).await,
            ClusterAct::Kill(node) => self.kill(*node).await,
            ClusterAct::Deafen => {
                self.cluster.server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
        }
    }

    async fn kill(&mut self, node: usize) {
        self.cluster.last += 1;
        let number = self.cluster.last;
        self.ask_for_private().await;
        {
            let Cluster { nodes, server, .. } = &mut *self.cluster;
            let publishing = nodes[node].publish(number);
            let killing = async {
                // The publication gets this far before the kill.
                for _ in 0..number % 16 {
                    yield_now().await;
                }
                server.kill();
                server.start_again();
            };
            let (published, ()) = futures_util::future::join(publishing, killing).await;
            if published.is_err() {
                self.doubtful.insert(number);
            }
            for node in nodes.iter() {
                node.ready().await;
            }
        }
        self.published.push(number);
        self.await_private().await;
        // A later event comes after it in the log, so once that one is there the first is there too, or never will be.
        self.act_published_behind(node).await;
    }

    async fn act_published_behind(&mut self, node: usize) {
        self.cluster.last += 1;
        let number = self.cluster.last;
        self.cluster.nodes[node].publish(number).await.unwrap();
        self.published.push(number);
        self.await_published(number).await;
    }

    async fn end(mut self) {
        self.resume(0).await;
        if let Some(last) = self.published.last().copied() {
            self.await_published(last).await;
        }
        let numbers: Vec<u64> = self.seen.iter().filter_map(|body| body.parse().ok()).collect();
        let is_due = |number: &u64| !self.doubtful.contains(number) || numbers.contains(number);
        let expected: Vec<u64> = self.published.iter().copied().filter(is_due).collect();
        assert_eq!(numbers, expected);
        let (client, _) = self.client.take().unwrap();
        client.cut().await;
    }
}

#[test]
fn every_dispatch_arrives_once_with_its_number_when_nodes_and_redis_die() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let cluster = tokio::sync::Mutex::new(local.block_on(&runtime, Cluster::start()));
    let config = ProptestConfig {
        // A failure prints its acts. Shrinking would take longer than it saves.
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::with_cases(CASES)
    };
    let tried = TestRunner::new(config).run(&acts(), |acts| {
        local.block_on(&runtime, async {
            let mut cluster = cluster.lock().await;
            let mut world = ClusterModel::begin(&mut cluster).await;
            for act in &acts {
                world.act(act).await;
            }
            world.end().await;
        });
        Ok(())
    });
    match tried {
        Ok(()) => {}
        Err(TestError::Fail(why, acts)) => panic!("{why}: {acts:?}"),
        Err(error) => panic!("{error}"),
    }
}
