//! The test bench of the conformance suite: a backplane, a recorder of its deliveries, and helpers to call it.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    client_type::{ClientType, ClientTypes},
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::{Report, ReportedGuilds, payload::GuildCount},
};
use tokio::sync::watch;

use crate::{
    backends::{
        IdSource, MemoryBackplane, MemoryLimits, MemoryTickets, RedisBackplane, RedisOptions,
        redis::test_server::TestServer,
    },
    backplane::{
        Backplane, Deliver, Entry, Epoch, Idempotency, Joined, Joining, Owner, Position, Publication, PublishError,
        Publishing, ReportLimits, TicketLimits, Tickets, WhenUnavailable,
    },
};

pub(super) const APPLICATION: &str = "utilbot";
pub(super) const COUNT_INTERVAL: Duration = Duration::from_millis(200);
/// The maximum number of idempotency keys of an application, and how long they are remembered.
pub(super) const KEYS: usize = 5;
pub(super) const RETENTION: Duration = Duration::from_secs(60);
/// How long to wait for something that is certain to happen.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// Records deliveries.
#[derive(Default)]
pub(super) struct RecordingDeliver {
    pub(super) entries: Mutex<Vec<Entry>>,
    pub(super) no_receiver: Mutex<usize>,
    pub(super) gap: Mutex<usize>,
    pub(super) full: watch::Sender<bool>,
}

impl Deliver for RecordingDeliver {
    fn superseded(&self, _: &Owner) {}

    fn has_room(&self, _: usize) -> bool {
        !*self.full.borrow()
    }

    fn wait_for_room(&self, _: usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut full = self.full.subscribe();
        Box::pin(async move {
            let _ = full.wait_for(|is_full| !is_full).await;
        })
    }

    fn deliver(&self, entry: Entry) {
        self.entries.lock().push(entry);
    }

    fn no_receiver(&self, _: &str, _: &str) {
        *self.no_receiver.lock() += 1;
    }

    fn lost(&self, _: &str, _: u64) {}

    fn gap(&self, _: &Arc<str>) {
        *self.gap.lock() += 1;
    }
}

impl RecordingDeliver {
    /// Takes the events delivered so far, without counts.
    pub(super) fn take(&self) -> Vec<Entry> {
        let is_event = |entry: &mut Entry| &*entry.name != GuildCount::NAME;
        self.entries.lock().extract_if(.., is_event).collect()
    }

    /// Takes the counts broadcast since the last call, as JSON.
    pub(super) fn counts(&self) -> Vec<String> {
        let is_count = |entry: &mut Entry| &*entry.name == GuildCount::NAME;
        let counts = self.entries.lock().extract_if(.., is_count).collect::<Vec<_>>();
        counts.iter().map(|entry| entry.d.to_string()).collect()
    }
}

/// A backplane and the recorder of its deliveries.
pub(super) struct BackplaneBench {
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) log: Arc<RecordingDeliver>,
    _server: Option<TestServer>,
}

impl BackplaneBench {
    pub(super) async fn join(&self, kind: ClientType) -> Joined {
        self.join_to(APPLICATION, kind).await
    }

    pub(super) async fn join_to(&self, application: &str, kind: ClientType) -> Joined {
        let joining = Joining {
            application: application.into(),
            kind,
            ticket: None,
            worker: None,
        };
        let joined = self.backplane.join(joining).await.unwrap();
        self.backplane.ready(application, joined.id);
        self.is_flushed().await;
        joined
    }

    /// Joins a bot for each of these reports of guilds and members, makes the reports in this order, and returns the
    /// bots.
    pub(super) async fn join_reporting<const N: usize>(&self, reports: [(ReportedGuilds, u64); N]) -> [SessionId; N] {
        let mut bots = [SessionId::from_raw(0); N];
        for bot in &mut bots {
            *bot = self.join(ClientType::Bot).await.id;
        }
        for (bot, (guilds, members)) in bots.into_iter().zip(reports) {
            self.report(bot, guilds, members);
        }
        bots
    }

    /// Publishes events and returns their offsets.
    pub(super) async fn publish(&self, events: Vec<Publication>) -> Result<Vec<u64>, PublishError> {
        self.publish_to(APPLICATION, events, None).await
    }

    pub(super) async fn publish_to(
        &self,
        application: &str,
        events: Vec<Publication>,
        idempotency: Option<Idempotency>,
    ) -> Result<Vec<u64>, PublishError> {
        let publishing = Publishing {
            application: application.into(),
            events,
            idempotency,
            when_unavailable: WhenUnavailable::Fail,
        };
        let positions = self.backplane.publish(publishing).await?;
        Ok(positions.into_iter().map(|position| position.offset).collect())
    }

    /// Waits for the next `count` events. Fails if there are more.
    pub(super) async fn entries(&self, count: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.eventually(&format!("{count} entries"), || {
            entries.extend(self.log.take());
            entries.len() >= count
        })
        .await;
        assert_eq!(entries.len(), count, "{entries:?}");
        entries
    }

    /// Publishes a marker event and asserts that nothing was delivered before it.
    pub(super) async fn nothing_but_a_marker(&self) {
        self.publish(vec![event(Delivery::All, ClientType::Bot.into(), None)])
            .await
            .unwrap();
        self.entries(1).await;
    }

    /// Waits until the reports and departures have been flushed.
    pub(super) async fn is_flushed(&self) {
        self.eventually("a settled backplane", || self.backplane.is_flushed())
            .await;
    }

    pub(super) async fn eventually(&self, body: &str, mut is_true: impl FnMut() -> bool) {
        let seeing = async {
            while !is_true() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let seen = tokio::time::timeout(WAIT, seeing).await;
        let status = self.backplane.status();
        assert!(seen.is_ok(), "waited {WAIT:?} in vain for {body}: {status:?}");
    }

    /// Waits until these counts have been broadcast, with nothing after them.
    pub(super) async fn published(&self, expected: String) {
        let mut published = Vec::new();
        self.eventually(&expected, || {
            published.extend(self.log.counts());
            published.last() == Some(&expected)
        })
        .await;
    }

    pub(super) fn report(&self, id: SessionId, guilds: ReportedGuilds, members: u64) {
        let report = Report {
            guilds,
            guild_members: members,
            cached_guild_members: 1,
            shard: None,
        };
        drop(self.backplane.report(APPLICATION, id, &"bot".into(), report));
    }

    /// Makes a session watch these guilds, and returns the position at which that takes effect.
    pub(super) async fn watch(&self, id: SessionId, guilds: &[u64]) -> Position {
        let report = Report::of_guilds(guilds.iter().copied().map(GuildId::from_raw).collect());
        let key = "website".into();
        self.backplane.report(APPLICATION, id, &key, report).await.unwrap()
    }

    pub(super) fn leave(&self, id: SessionId) {
        self.backplane.leave(APPLICATION, id);
    }

    /// Lets background tasks run for one count interval.
    pub(super) async fn an_interval(&self) {
        tokio::time::sleep(COUNT_INTERVAL + COUNT_INTERVAL / 10).await;
    }
}

pub(super) fn event(delivery: Delivery, to: ClientTypes, author: Option<SessionId>) -> Publication {
    Publication {
        name: "event".into(),
        require_receiver: delivery != Delivery::All,
        author,
        d: r#"{"n":1}"#.into(),
        ..Publication::example(delivery, to)
    }
}

pub(super) fn ids(guilds: &[u64]) -> ReportedGuilds {
    ReportedGuilds::Ids(guilds.iter().copied().map(GuildId::from_raw).collect())
}

pub(super) fn counts(guilds: u64, members: u64, cached: u64) -> String {
    GuildCount {
        guilds,
        guild_members: members,
        cached_guild_members: cached,
    }
    .d()
}

/// A single node on its own Redis server.
pub(super) async fn redis() -> BackplaneBench {
    let server = TestServer::start();
    let log = Arc::new(RecordingDeliver::default());
    let options = RedisOptions {
        applications: vec![APPLICATION.into(), "other".into()],
        log_entries: 100_000,
        log_age: RETENTION,
        idempotency_keys: KEYS,
        count_interval: COUNT_INTERVAL,
        ..server.options(1)
    };
    let (backplane, driving) = RedisBackplane::new(options, log.clone()).unwrap();
    tokio::spawn(driving);
    let bench = BackplaneBench {
        backplane: Arc::new(backplane),
        log,
        _server: Some(server),
    };
    bench
        .eventually("a backplane that is ready", || bench.backplane.status().ready)
        .await;
    bench
}

pub(super) fn memory(ids: IdSource) -> BackplaneBench {
    let log = Arc::new(RecordingDeliver::default());
    let limits = MemoryLimits {
        reports: ReportLimits::default(),
        count_interval: COUNT_INTERVAL,
        waiting_bytes: 1 << 20,
        retention: RETENTION,
        idempotency_keys: KEYS,
        jobs: crate::backplane::JobLimits::for_tests(),
    };
    let (backplane, broadcast) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, log.clone());
    tokio::spawn(broadcast);
    BackplaneBench {
        backplane: Arc::new(backplane),
        log,
        _server: None,
    }
}

pub(super) fn memory_now() -> BackplaneBench {
    memory(IdSource::from_clock(1_800_000_000_000).unwrap())
}

/// A store of tickets.
pub(super) struct TicketsBench {
    pub(super) tickets: Box<dyn Tickets>,
    /// The most unused tickets of an application.
    pub(super) unused: usize,
    _backplane: Option<BackplaneBench>,
}

pub(super) fn memory_tickets() -> TicketsBench {
    let unused = 10;
    TicketsBench {
        tickets: Box::new(MemoryTickets::new(TicketLimits {
            unused,
            revocations_kept: RETENTION,
        })),
        unused,
        _backplane: None,
    }
}

pub(super) async fn redis_tickets() -> TicketsBench {
    let server = TestServer::start();
    let unused = 10;
    let options = RedisOptions {
        tickets: TicketLimits {
            unused,
            revocations_kept: RETENTION,
        },
        ..server.options(1)
    };
    let log = Arc::new(RecordingDeliver::default());
    let (backplane, driving) = RedisBackplane::new(options, log.clone()).unwrap();
    tokio::spawn(driving);
    let tickets = Box::new(backplane.tickets());
    let bench = BackplaneBench {
        backplane: Arc::new(backplane),
        log,
        _server: Some(server),
    };
    bench
        .eventually("a backplane that is available", || bench.backplane.status().available)
        .await;
    TicketsBench {
        tickets,
        unused,
        _backplane: Some(bench),
    }
}
