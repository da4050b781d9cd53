//! The conformance suite of presences and voice states, for every store of Discord sessions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use shared::{
    discord::{Filter, Intents, Presence, Shard, Status, Version, VoiceState},
    session_id::SessionId,
};

use crate::{
    backends::{
        IdSource, MemoryBackplane, MemoryLimits, RedisBackplane, RedisOptions, RedisSessions, memory::MemorySessions,
        redis::test_server::TestServer,
    },
    backplane::{Backplane, Deliver, Entry, Epoch, Owner, ReportLimits},
    resume::{PresenceChange, PresencePayload, Record, ResumeParams, Store, VoicePayload, presence_queue::AT_ONCE},
};

const APPLICATION: &str = "utilbot";
const ME: u64 = 1 << 62;
/// How long a session can be resumed after it disconnects.
const RESUME_WINDOW: Duration = Duration::from_secs(2);
/// How long to wait for something that is certain to happen.
const WAIT: Duration = Duration::from_secs(20);

/// Records deliveries.
#[derive(Default)]
struct Log(Mutex<Vec<Entry>>);

impl Deliver for Log {
    fn superseded(&self, _: &Owner) {}

    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn wait_for_room(&self, _: usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn deliver(&self, entry: Entry) {
        self.0.lock().push(entry);
    }

    fn no_receiver(&self, _: &str, _: &str) {}

    fn lost(&self, _: &str, _: u64) {}

    fn gap(&self, _: &Arc<str>) {}
}

/// A store, and a recorder of the events that it publishes.
struct Bench {
    store: Arc<dyn Store>,
    log: Arc<Log>,
    /// A session that keeps the node following the log. It shares no guild with the others.
    watcher: Owner,
    _server: Option<TestServer>,
}

/// The guild with this number. Shards are assigned by its remainder.
const fn guild(number: u64) -> u64 {
    number << 22
}

fn record(id: u32, count: u32) -> Arc<Record> {
    Arc::new(Record {
        application: APPLICATION.into(),
        key: "k".into(),
        filter: Filter {
            intents: Intents::ALL,
            shard: Shard { id, count },
            user: ME,
            withholds_content: false,
        },
        filter_version: Filter::VERSION,
        version: Version::V10,
        large_threshold: 50,
    })
}

impl Bench {
    async fn new(store: Arc<dyn Store>, log: Arc<Log>, server: Option<TestServer>) -> Self {
        let mut watcher = None;
        for _ in 0..1000 {
            let mut record = Arc::unwrap_or_clone(record(0, 1));
            record.filter.user = 1;
            match store.open(Arc::new(record)).await {
                Ok(begun) => {
                    watcher = Some(begun);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        let begun = watcher.expect("a store that is ready");
        let watcher = owner(begun.id, begun.fencing_token);
        // Leaks the guard that keeps the node following the log, for as long as the test runs.
        std::mem::forget(begun);
        Self {
            store,
            log,
            watcher,
            _server: server,
        }
    }

    async fn open(&self, id: u32, count: u32) -> Owner {
        let begun = self.store.open(record(id, count)).await.unwrap();
        owner(begun.id, begun.fencing_token)
    }

    async fn resume(&self, owner: &Owner) -> Owner {
        let params = ResumeParams {
            application: APPLICATION.into(),
            key: "k".into(),
            id: owner.id,
            seq: 1,
        };
        let ack = self.store.resume(params).await.unwrap();
        Owner {
            fencing_token: ack.continued.fencing_token,
            ..owner.clone()
        }
    }

    fn show(&self, owner: &Owner, status: Status, guilds: &[u64]) {
        let presence = Presence {
            status,
            ..Presence::default()
        };
        let change = PresenceChange::Presence(Arc::new(PresencePayload::new(ME, presence)), guilds.to_vec());
        assert!(self.store.change_presence(owner, change));
    }

    fn speak(&self, owner: &Owner, guild: u64, channel: Option<u64>) {
        let state = VoiceState {
            guild,
            channel,
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        let published = |state: VoiceState| state.update(ME, owner.id, None, None).to_string();
        assert!(self.store.change_presence(
            owner,
            PresenceChange::Voice(Arc::new(VoicePayload::new(state, published)))
        ));
    }

    /// Waits for the next `count` events, in any order, each as guild and status or channel. Fails if there are more.
    async fn published(&self, count: usize) -> BTreeMap<u64, String> {
        let published = self.told_in_order(count).await;
        let guilds: BTreeMap<_, _> = published.into_iter().collect();
        assert_eq!(guilds.len(), count, "one event per guild");
        guilds
    }

    async fn told_in_order(&self, count: usize) -> Vec<(u64, String)> {
        let published = self.told_until(|published| published.len() >= count).await;
        assert_eq!(published.len(), count, "{published:?}");
        published
    }

    async fn told_until(&self, mut is_enough: impl FnMut(&[(u64, String)]) -> bool) -> Vec<(u64, String)> {
        let mut published = Vec::new();
        let until = tokio::time::Instant::now() + WAIT;
        while !is_enough(&published) {
            let entries = std::mem::take(&mut *self.log.0.lock());
            published.extend(entries.iter().map(read));
            assert!(tokio::time::Instant::now() < until, "only {published:?} arrived");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        published
    }

    /// Publishes another presence, and asserts that nothing was published before it.
    async fn nothing(&self) {
        for status in [Status::Online, Status::Offline] {
            self.show(&self.watcher, status, &[guild(999)]);
            assert_eq!(self.published(1).await, one(guild(999), status.shown()));
        }
    }
}

fn owner(id: SessionId, fencing_token: u64) -> Owner {
    Owner {
        application: APPLICATION.into(),
        id,
        fencing_token,
    }
}

/// Reads the guild and the status or channel of an event. The header must agree with the data.
fn read(entry: &Entry) -> (u64, String) {
    let d: Value = serde_json::from_str(&entry.d).unwrap();
    let guild: u64 = d["guild_id"].as_str().unwrap().parse().unwrap();
    let header = entry.discord.as_ref().unwrap();
    assert_eq!(
        **header,
        shared::discord::Header::of(&entry.name, &entry.d, shared::discord::Target::All, None)
    );
    assert_eq!(header.guild, Some(guild));
    let body = match &*entry.name {
        "PRESENCE_UPDATE" => &d["status"],
        "VOICE_STATE_UPDATE" => &d["channel_id"],
        name => panic!("{name}"),
    };
    (guild, body.as_str().unwrap_or("none").to_owned())
}

fn one(guild: u64, body: &str) -> BTreeMap<u64, String> {
    BTreeMap::from([(guild, body.to_owned())])
}

fn all(guilds: impl IntoIterator<Item = u64>, body: &str) -> BTreeMap<u64, String> {
    guilds.into_iter().map(|guild| (guild, body.to_owned())).collect()
}

async fn memory() -> Bench {
    let log = Arc::new(Log::default());
    let limits = MemoryLimits {
        reports: ReportLimits::default(),
        count_interval: Duration::from_secs(1),
        waiting_bytes: 1 << 20,
        retention: Duration::from_secs(60),
        idempotency_keys: 1000,
        jobs: crate::backplane::JobLimits::for_tests(),
    };
    let ids = IdSource::from_clock(1_800_000_000_000).unwrap();
    let (backplane, broadcast) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, log.clone());
    tokio::spawn(broadcast);
    let backplane: Arc<dyn Backplane> = Arc::new(backplane);
    let (sessions, working) = MemorySessions::new(backplane, log.clone(), RESUME_WINDOW);
    tokio::spawn(working);
    Bench::new(Arc::new(sessions), log, None).await
}

async fn redis() -> Bench {
    let server = TestServer::start();
    let log = Arc::new(Log::default());
    let options = RedisOptions {
        log_entries: 100_000,
        resume_window: RESUME_WINDOW,
        heartbeat: Duration::from_secs(60),
        ..server.options(1)
    };
    let (backplane, driving) = RedisBackplane::new(options, log.clone()).unwrap();
    tokio::spawn(driving);
    Bench::new(Arc::new(RedisSessions::new(&backplane)), log, Some(server)).await
}

/// Runs each case against each implementation.
macro_rules! conformance {
    ($($name:ident)+) => {
        mod memory_sessions {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(super::memory().await).await;
                }
            )+
        }

        mod redis_sessions {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::redis().await).await;
                }
            )+
        }
    };
}

conformance! {
    a_presence_is_published_once_per_guild
    a_voice_state_is_published_each_time_it_is_set
    the_latest_presence_is_published_in_every_guild
    ended_sessions_go_offline
    resumable_sessions_stay_online_until_the_window_ends
    a_presence_stays_while_another_session_covers_the_guild
    an_earlier_owner_is_ignored
    guilds_map_to_shards_by_their_ids
}

async fn a_presence_is_published_once_per_guild(bench: Bench) {
    let session = bench.open(0, 1).await;
    let guilds = [guild(1), guild(2)];
    bench.show(&session, Status::Invisible, &guilds);
    bench.nothing().await;
    bench.show(&session, Status::Idle, &guilds);
    assert_eq!(bench.published(2).await, all(guilds, "idle"));
    bench.show(&session, Status::Idle, &[guild(1), guild(2), guild(3)]);
    assert_eq!(bench.published(1).await, one(guild(3), "idle"));
    bench.show(&session, Status::Invisible, &guilds);
    assert_eq!(bench.published(2).await, all(guilds, "offline"));
    bench.show(&session, Status::Offline, &guilds);
    bench.nothing().await;
}

async fn a_voice_state_is_published_each_time_it_is_set(bench: Bench) {
    let session = bench.open(0, 1).await;
    for channel in [Some(5), Some(5), Some(6), None, None] {
        bench.speak(&session, guild(1), channel);
        let body = channel.map_or("none".to_owned(), |channel| channel.to_string());
        assert_eq!(bench.published(1).await, one(guild(1), &body));
    }
    bench.store.end(&session);
    bench.nothing().await;
}

async fn the_latest_presence_is_published_in_every_guild(bench: Bench) {
    let session = bench.open(0, 1).await;
    let guilds: Vec<_> = (1..=3 * AT_ONCE as u64).map(guild).collect();
    bench.show(&session, Status::Dnd, &guilds);
    let mut published = bench.told_until(|published| !published.is_empty()).await;
    bench.show(&session, Status::Online, &guilds);
    bench.speak(&session, guild(1), Some(5));
    let online = |published: &[(u64, String)]| published.iter().filter(|(_, body)| body == "online").count();
    published.extend(bench.told_until(|published| online(published) >= guilds.len()).await);
    let latest: BTreeMap<_, _> = published.iter().filter(|(_, body)| body != "5").cloned().collect();
    assert_eq!(latest, all(guilds.iter().copied(), "online"));
    let voice = published.iter().position(|(_, body)| body == "5").unwrap();
    assert!(
        voice < 3 * AT_ONCE,
        "a voice state does not wait for presences: {voice}"
    );
    bench.nothing().await;
}

async fn ended_sessions_go_offline(bench: Bench) {
    let session = bench.open(0, 1).await;
    let guilds: Vec<_> = (1..=2 * AT_ONCE as u64 + 5).map(guild).collect();
    bench.show(&session, Status::Dnd, &guilds);
    bench.published(guilds.len()).await;
    for place in &guilds[..5] {
        bench.speak(&session, *place, Some(7));
        bench.published(1).await;
    }
    bench.store.end(&session);
    let published = bench.told_in_order(guilds.len() + 5).await;
    let (left, offline): (Vec<_>, Vec<_>) = published.into_iter().partition(|(_, body)| body == "none");
    assert_eq!(
        left.into_iter().collect::<BTreeMap<_, _>>(),
        all(guilds[..5].to_vec(), "none")
    );
    assert_eq!(
        offline.into_iter().collect::<BTreeMap<_, _>>(),
        all(guilds.clone(), "offline")
    );
    // Further calls by the ended session are ignored.
    bench.show(&session, Status::Online, &guilds);
    bench.speak(&session, guild(1), Some(7));
    bench.store.end(&session);
    bench.store.detach(&session, false);
    bench.nothing().await;
}

async fn resumable_sessions_stay_online_until_the_window_ends(bench: Bench) {
    let session = bench.open(0, 1).await;
    bench.show(&session, Status::Dnd, &[guild(1)]);
    bench.published(1).await;
    bench.speak(&session, guild(2), Some(7));
    bench.published(1).await;
    bench.store.detach(&session, false);
    tokio::time::sleep(RESUME_WINDOW / 2).await;
    let session = bench.resume(&session).await;
    tokio::time::sleep(RESUME_WINDOW).await;
    bench.nothing().await;
    bench.store.detach(&session, false);
    let since = tokio::time::Instant::now();
    let published = bench.published(2).await;
    assert!(since.elapsed() >= RESUME_WINDOW * 3 / 4, "{:?}", since.elapsed());
    assert_eq!((&*published[&guild(1)], &*published[&guild(2)]), ("offline", "none"));
    bench.nothing().await;
}

async fn a_presence_stays_while_another_session_covers_the_guild(bench: Bench) {
    let whole = bench.open(0, 1).await;
    let odd = bench.open(1, 2).await;
    let guilds: Vec<_> = (1..=4).map(guild).collect();
    bench.show(&whole, Status::Dnd, &guilds);
    bench.published(4).await;
    bench.speak(&whole, guild(1), Some(7));
    bench.published(1).await;
    bench.speak(&odd, guild(3), Some(7));
    bench.published(1).await;
    bench.store.end(&whole);
    let published: BTreeSet<_> = bench.told_in_order(3).await.into_iter().collect();
    let expected = [(guild(1), "none"), (guild(2), "offline"), (guild(4), "offline")];
    assert_eq!(published, expected.map(|(guild, body)| (guild, body.to_owned())).into());
    // A second session of the same shard starts, then both end.
    let second = bench.open(1, 2).await;
    bench.store.end(&odd);
    assert_eq!(bench.published(1).await, one(guild(3), "none"));
    bench.nothing().await;
    bench.store.end(&second);
    assert_eq!(bench.published(2).await, all([guild(1), guild(3)], "offline"));
}

async fn an_earlier_owner_is_ignored(bench: Bench) {
    let earlier = bench.open(0, 1).await;
    bench.show(&earlier, Status::Dnd, &[guild(1)]);
    bench.published(1).await;
    let session = bench.resume(&earlier).await;
    bench.show(&earlier, Status::Idle, &[guild(1)]);
    bench.speak(&earlier, guild(1), Some(7));
    bench.store.end(&earlier);
    bench.nothing().await;
    bench.show(&session, Status::Online, &[guild(1)]);
    assert_eq!(bench.published(1).await, one(guild(1), "online"));
    bench.store.end(&session);
    assert_eq!(bench.published(1).await, one(guild(1), "offline"));
}

async fn guilds_map_to_shards_by_their_ids(bench: Bench) {
    let mut random = fastrand::Rng::with_seed(7);
    let guilds: Vec<_> = (0..60).map(|bits| random.u64(..) >> bits).map(|id| id.max(1)).collect();
    let guilds: BTreeSet<_> = guilds
        .into_iter()
        .chain([u64::MAX, 999_999_999, 1_000_000_000])
        .collect();
    let (whole, part) = (bench.open(0, 1).await, Shard { id: 5, count: 7 });
    let staying = bench.open(part.id, part.count).await;
    bench.show(&whole, Status::Dnd, &guilds.iter().copied().collect::<Vec<_>>());
    bench.published(guilds.len()).await;
    bench.store.end(&whole);
    let (stay, go): (Vec<_>, Vec<_>) = guilds.iter().copied().partition(|id| part.has(Some(*id)));
    assert!(stay.len() > 2 && go.len() > 2);
    assert_eq!(bench.published(go.len()).await, all(go, "offline"));
    bench.store.end(&staying);
    assert_eq!(bench.published(stay.len()).await, all(stay, "offline"));
    bench.nothing().await;
}
