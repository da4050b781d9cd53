//! Sessions without sockets, on nodes that share a real Redis, which is killed and cut off.
//!
//! Time is real here, so every test polls for what it expects, with a deadline.

mod model;
mod resuming;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use shared::discord::Target;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::tests::{DiscordTestClient, DiscordTestNode, identify, resume};
use crate::{
    backends::{RedisBackplane, RedisSessions, TestServer},
    backplane::{Backplane, Deliver, Entry, Owner, Position, PublishError},
    guilds::Guilds,
    registry::Registry,
    resume::DiscordSessions,
};

/// How long an expected change may take.
const WAIT: Duration = Duration::from_secs(20);
/// How often to poll for it.
const LOOK: Duration = Duration::from_millis(1);

/// A node of a cluster.
struct ClusterMember {
    node: DiscordTestNode,
    backplane: Arc<RedisBackplane>,
    driving: JoinHandle<()>,
    /// Whether the node takes no entries from the log.
    stalled: watch::Sender<bool>,
    /// How often the node was told that the log has lost entries.
    losses: Arc<AtomicU64>,
}

/// A registry that can be made to have no room.
struct Stalling {
    registry: Registry,
    stalled: watch::Sender<bool>,
    losses: Arc<AtomicU64>,
}

impl Deliver for Stalling {
    fn has_room(&self, bytes: usize) -> bool {
        !*self.stalled.borrow() && self.registry.has_room(bytes)
    }

    fn wait_for_room(&self, bytes: usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut stalled = self.stalled.subscribe();
        Box::pin(async move {
            let _ = stalled.wait_for(|is_stalled| !is_stalled).await;
            self.registry.wait_for_room(bytes).await;
        })
    }

    fn deliver(&self, entry: Entry) {
        self.registry.deliver(entry);
    }

    fn accepted(&self, application: &Arc<str>, events: usize, took: Duration) {
        self.registry.accepted(application, events, took);
    }

    fn no_receiver(&self, application: &str, event: &str) {
        self.registry.no_receiver(application, event);
    }

    fn lost(&self, application: &str, entries: u64) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.registry.lost(application, entries);
    }

    fn gap(&self, application: &Arc<str>) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.registry.gap(application);
    }

    fn skip(&self, entry: Entry) {
        self.registry.skip(entry);
    }

    fn reset(&self, application: &Arc<str>, from: Option<Position>) {
        self.registry.reset(application, from);
    }

    fn rolled_back(&self, application: &Arc<str>) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.registry.rolled_back(application);
    }

    fn guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        Deliver::guilds(&self.registry, application, guilds);
    }

    fn superseded(&self, owner: &Owner) {
        self.registry.superseded(owner);
    }
}

impl ClusterMember {
    async fn start(server: &TestServer, incarnation: u64) -> Self {
        let options = server.options(incarnation);
        let stalled = watch::Sender::new(false);
        let losses = Arc::<AtomicU64>::default();
        let mut made = None;
        let node = DiscordTestNode::over(
            |_| {},
            |registry| {
                let deliver = Stalling {
                    registry: registry.clone(),
                    stalled: stalled.clone(),
                    losses: Arc::clone(&losses),
                };
                let (backplane, driving) = RedisBackplane::new(options, Arc::new(deliver)).unwrap();
                let sessions = DiscordSessions::new(RedisSessions::new(&backplane));
                let backplane = Arc::new(backplane);
                made = Some((Arc::clone(&backplane), tokio::spawn(driving)));
                (backplane, sessions)
            },
        );
        let (backplane, driving) = made.unwrap();
        let member = Self {
            node,
            backplane,
            driving,
            stalled,
            losses,
        };
        member.ready().await;
        member
    }

    async fn ready(&self) {
        eventually("a node that is ready", || {
            let status = self.backplane.status();
            status.ready && status.available
        })
        .await;
    }

    /// Ends the node abruptly, like a kill.
    fn die(&self) {
        self.driving.abort();
    }

    /// Returns a client that has received READY, and its session's id.
    async fn identified(&self) -> (DiscordTestClient, String) {
        let mut client = self.node.open("10");
        client.send(&identify(1)).await;
        has(&mut client, "READY", 1).await;
        let id = client.seen.last().unwrap()["d"]["session_id"].as_str().unwrap();
        let id = id.to_owned();
        (client, id)
    }

    /// Returns a client that has sent Resume and has had no answer yet.
    async fn resumed(&self, id: &str, seq: u64) -> DiscordTestClient {
        let mut client = self.node.open("10");
        client.send(&resume(id, seq)).await;
        client
    }

    /// Publishes an event with this number.
    async fn publish(&self, number: u64) -> Result<(), PublishError> {
        self.node.try_publish_to("X", &json!({"n": number}), Target::All).await
    }
}

async fn eventually(body: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !is_true() {
        assert!(Instant::now() < deadline, "{body} did not come within {WAIT:?}");
        sleep(LOOK).await;
    }
}

/// Returns whether a connection is closed or its session was invalidated.
fn is_over(client: &DiscordTestClient) -> bool {
    client.close.is_some() || client.seen.iter().any(|payload| payload["op"] == 9)
}

/// Waits until a client has `count` dispatches of this name or number, or is over.
async fn has_or_is_over(client: &mut DiscordTestClient, body: &str, count: usize) {
    let deadline = Instant::now() + WAIT;
    loop {
        client.drive().await;
        let those = client.dispatches().iter().filter(|(_, it)| it == body).count();
        if those >= count || is_over(client) {
            return;
        }
        let seen = &client.seen;
        assert!(Instant::now() < deadline, "{count} {body} did not come: {seen:?}");
        sleep(LOOK).await;
    }
}

/// Waits until a client has `count` dispatches of this name or number, and checks that it is not over.
async fn has(client: &mut DiscordTestClient, body: &str, count: usize) {
    has_or_is_over(client, body, count).await;
    assert!(!is_over(client), "{:?} {:?}", client.close, client.seen);
}
