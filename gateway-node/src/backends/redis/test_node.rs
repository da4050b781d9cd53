//! A node without clients, for tests of several nodes on one server.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    client_type::ClientType,
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::{Report, ReportedGuilds, payload::GuildCount},
};
use tokio::task::JoinHandle;

use super::{RedisBackplane, RedisOptions, test_server::TestServer};
use crate::backplane::{
    Backplane, Deliver, Entry, Idempotency, JoinError, Joined, Joining, Position, Publication, PublishError,
    Publishing, ReportLimits, WhenUnavailable,
};

pub(super) const APPLICATION: &str = "utilbot";
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// How long to wait for something that is certain to happen.
pub(super) const WAIT: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct SeenEvents {
    entries: Mutex<Vec<Entry>>,
    lost: Mutex<u64>,
    gap: Mutex<usize>,
}

impl Deliver for SeenEvents {
    fn superseded(&self, _: &crate::backplane::Owner) {}

    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn wait_for_room(&self, _: usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn deliver(&self, entry: Entry) {
        self.entries.lock().push(entry);
    }

    fn no_receiver(&self, _: &str, _: &str) {}

    fn lost(&self, _: &str, entries: u64) {
        *self.lost.lock() += entries;
    }

    fn gap(&self, _: &Arc<str>) {
        *self.gap.lock() += 1;
    }
}

impl SeenEvents {
    /// The number of lost entries.
    pub(super) fn lost(&self) -> u64 {
        *self.lost.lock()
    }

    /// How often a gap was reported to the sessions.
    pub(super) fn gap(&self) -> usize {
        *self.gap.lock()
    }

    /// The first event that was delivered.
    pub(super) fn first_event(&self) -> Entry {
        let entries = self.entries.lock();
        let event = entries.iter().find(|entry| &*entry.name == "event");
        event.expect("an event").clone()
    }

    /// The numbers in the delivered events, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let entries = self.entries.lock();
        let events = entries.iter().filter(|entry| &*entry.name == "event");
        events
            .map(|entry| entry.d[5..entry.d.len() - 1].parse().unwrap())
            .collect()
    }

    /// The data of every entry with this name, in order.
    pub(super) fn named(&self, name: &str) -> Vec<String> {
        let entries = self.entries.lock();
        let named = entries.iter().filter(|entry| &*entry.name == name);
        named.map(|entry| entry.d.to_string()).collect()
    }

    /// How often counts were broadcast.
    pub(super) fn times_told(&self) -> usize {
        self.named(GuildCount::NAME).len()
    }

    pub(super) fn last_counts(&self) -> Option<String> {
        let entries = self.entries.lock();
        let counts = entries.iter().rev().find(|entry| &*entry.name == GuildCount::NAME);
        counts.map(|entry| entry.d.to_string())
    }
}

/// A node without clients.
pub(super) struct ClusterNode {
    pub(super) backplane: RedisBackplane,
    pub(super) seen: Arc<SeenEvents>,
    driving: JoinHandle<()>,
}

impl ClusterNode {
    /// Starts a node and waits until it is ready.
    pub(super) async fn start(server: &TestServer, incarnation: u64) -> Self {
        let node = Self::start_unready(server, incarnation);
        node.ready().await;
        node
    }

    pub(super) fn start_unready(server: &TestServer, incarnation: u64) -> Self {
        Self::start_with(server, incarnation, ReportLimits::default())
    }

    pub(super) fn start_with(server: &TestServer, incarnation: u64, reports: ReportLimits) -> Self {
        Self::start_with_options(RedisOptions {
            reports,
            lease: LEASE,
            count_interval: Duration::from_millis(50),
            ..server.options(incarnation)
        })
    }

    pub(super) fn start_with_options(options: RedisOptions) -> Self {
        let seen = Arc::new(SeenEvents::default());
        let (backplane, driving) = RedisBackplane::new(options, seen.clone()).unwrap();
        Self {
            backplane,
            seen,
            driving: tokio::spawn(driving),
        }
    }

    pub(super) async fn ready(&self) {
        eventually("a node that is ready", || {
            let status = self.backplane.status();
            status.ready && status.available
        })
        .await;
    }

    pub(super) async fn available(&self) {
        eventually("a node with its server", || self.backplane.status().available).await;
    }

    pub(super) async fn away(&self) {
        eventually("a node without its server", || !self.backplane.status().available).await;
    }

    /// Stops the node abruptly, as a kill does.
    pub(super) fn kill(self) -> Arc<SeenEvents> {
        self.driving.abort();
        self.seen
    }

    pub(super) async fn try_join(&self) -> Result<Joined, JoinError> {
        let joining = Joining {
            application: APPLICATION.into(),
            kind: ClientType::Bot,
            ticket: None,
            worker: None,
        };
        let joined = self.backplane.join(joining).await?;
        self.backplane.ready(APPLICATION, joined.id);
        eventually("a session that has entered", || self.backplane.is_flushed()).await;
        Ok(joined)
    }

    pub(super) async fn join(&self) -> Joined {
        self.try_join().await.unwrap()
    }

    pub(super) fn report(&self, id: SessionId, guilds: &[u64]) {
        let report = Report {
            guilds: ReportedGuilds::Ids(guilds.iter().copied().map(GuildId::from_raw).collect()),
            guild_members: 10,
            cached_guild_members: 1,
            shard: None,
        };
        drop(self.backplane.report(APPLICATION, id, &"bot".into(), report));
    }

    pub(super) async fn published(&self, guilds: u64, bots: u64) {
        let expected = GuildCount {
            guilds,
            guild_members: 10 * bots,
            cached_guild_members: bots,
        };
        eventually(&expected.d(), || self.seen.last_counts() == Some(expected.d())).await;
    }

    /// Publishes an event with this number.
    pub(super) async fn publish(
        &self,
        number: u64,
        when_unavailable: WhenUnavailable,
    ) -> Result<Position, PublishError> {
        self.publish_to(number, Delivery::All, when_unavailable).await
    }

    /// Publishes an event with this number and an idempotency key.
    pub(super) async fn publish_once(&self, number: u64, key: &str) -> Result<Position, PublishError> {
        let idempotency = Idempotency {
            key: key.into(),
            digest: 7,
        };
        let publishing = Publishing {
            idempotency: Some(idempotency),
            ..publishing(number, Delivery::All, PROMPT)
        };
        Ok(self.backplane.publish(publishing).await?[0])
    }

    pub(super) async fn publish_to(
        &self,
        number: u64,
        delivery: Delivery,
        when_unavailable: WhenUnavailable,
    ) -> Result<Position, PublishError> {
        let publishing = publishing(number, delivery, when_unavailable);
        Ok(self.backplane.publish(publishing).await?[0])
    }

    pub(super) async fn saw(&self, numbers: impl IntoIterator<Item = u64>) {
        let expected: Vec<_> = numbers.into_iter().collect();
        eventually(&format!("{} events", expected.len()), || {
            self.seen.numbers().len() >= expected.len()
        })
        .await;
        assert_eq!(self.seen.numbers(), expected);
    }
}

pub(super) fn publishing(number: u64, delivery: Delivery, when_unavailable: WhenUnavailable) -> Publishing {
    let event = Publication {
        name: "event".into(),
        require_receiver: delivery != Delivery::All,
        d: format!(r#"{{"n":{number}}}"#).into(),
        ..Publication::example(delivery, ClientType::Bot.into())
    };
    Publishing {
        application: APPLICATION.into(),
        events: vec![event],
        idempotency: None,
        when_unavailable,
    }
}

pub(super) const PROMPT: WhenUnavailable = WhenUnavailable::Fail;

pub(super) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let seeing = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::time::timeout(WAIT, seeing).await;
    assert!(seen.is_ok(), "waited {WAIT:?} in vain for {what}");
}
