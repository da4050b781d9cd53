//! Sessions as actors under a paused clock: no socket, a real registry and a real backplane.

mod ending;
mod heartbeats;
mod identifying;
mod receiving;

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::AsyncContext;
use serde_json::{Value, json};
use shared::compression::Level;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, LocalSet, yield_now},
    time::{Instant, advance},
};

use super::*;
use crate::{
    admission::Permit,
    app_state::AppState,
    auth::{Key, Keyring},
    backends::{IdSource, MemoryBackplane, MemoryLimits, MemorySessions},
    backplane::{Backplane, Epoch, ReportLimits},
    config::{KeySettings, Secret, Settings},
    events::Events,
    metrics::Metrics,
    registry::{Registry, RegistryShard},
    replay::ReplayLimits,
    resume::DiscordSessions,
    transport::{Inbound, Inbox, Message, Outbox},
};

const KEY: &str = "development.0123456789abcdef0123456789abcdef";

/// A node without sockets.
struct TestNode {
    worker: Rc<WorkerState>,
    rules: Rc<V1SessionSettings>,
    registry: Registry,
    keyring: Keyring,
    settings: Settings,
}

fn clock() -> IdSource {
    IdSource::from_clock(1_800_000_000_000).unwrap()
}

/// The client's end of a session.
struct TestClient {
    inbox: mpsc::UnboundedSender<Inbound>,
    outbox: Outbox,
    /// The session's task. Its driver aborts it when the socket is gone.
    task: JoinHandle<()>,
    seen: Vec<Value>,
    /// How many empty pings have arrived.
    pings: usize,
    close: Option<u16>,
}

impl TestNode {
    fn new() -> Self {
        Self::made_of(clock(), |backplane| backplane)
    }

    /// Creates a node with these ids, whose sessions use the backplane that `wrap` returns.
    fn made_of(ids: IdSource, wrap: impl FnOnce(Arc<dyn Backplane>) -> Arc<dyn Backplane>) -> Self {
        let key = KeySettings::development(Secret::from(KEY.split('.').next_back().unwrap().to_owned()));
        Self::with(ids, Keyring::new(vec![Key::new(&key).unwrap()]), wrap)
    }

    fn with(ids: IdSource, keyring: Keyring, wrap: impl FnOnce(Arc<dyn Backplane>) -> Arc<dyn Backplane>) -> Self {
        let settings = Settings::default();
        let metrics = Arc::new(Metrics::default());
        let tail = ReplayLimits {
            entries: 1000,
            age: Duration::from_secs(600),
            bytes: 1 << 20,
        };
        let registry = Registry::new(
            1,
            1 << 20,
            tail,
            Level::default(),
            Duration::from_secs(1),
            Arc::clone(&metrics),
        );
        let limits = MemoryLimits {
            reports: ReportLimits::default(),
            count_interval: Duration::from_secs(1),
            waiting_bytes: 1 << 20,
            retention: Duration::from_secs(60),
            idempotency_keys: 1000,
            jobs: crate::backplane::JobLimits::for_tests(),
        };
        let (backplane, broadcast) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, Arc::new(registry.clone()));
        tokio::task::spawn_local(broadcast);
        let backplane = wrap(Arc::new(backplane));
        let shard = RegistryShard::start(0, registry.clone(), backplane.clone(), keyring.clone());
        let events = Events::new(settings.event_table().unwrap());
        let rules = Rc::new(V1SessionSettings::new(&settings, "node".into(), &events));
        let deliver = Arc::new(registry.clone());
        let (discord, _) = MemorySessions::new(Arc::clone(&backplane), deliver, Duration::from_secs(60));
        let app = AppState::for_tests(
            registry.clone(),
            backplane,
            DiscordSessions::new(discord),
            keyring.clone(),
            &settings,
            metrics,
        );
        let worker = Rc::new(WorkerState {
            app,
            shard,
            turns: super::Turns::default(),
            member_lists: super::MemberLists::new(Duration::ZERO),
            client_names: super::ClientNames::default(),
        });
        Self {
            worker,
            rules,
            registry,
            keyring,
            settings,
        }
    }

    async fn connect(&self) -> TestClient {
        let outbox = Outbox::new(1 << 20);
        let (inbox, received) = mpsc::unbounded_channel();
        let protocol = V1::new(Some("1"), None, Rc::clone(&self.rules), Instant::now());
        let address = IpAddr::from([127, 0, 0, 1]);
        let session = Session::new(
            protocol,
            Inbox::default(),
            outbox.clone(),
            address,
            None,
            Permit::free(),
            Rc::clone(&self.worker),
        );
        let received = futures_util::stream::unfold(received, |mut received| async move {
            let inbound = received.recv().await?;
            Some((inbound, received))
        });
        let mut context = actix::Context::new();
        context.add_stream(received);
        let task = tokio::task::spawn_local(context.into_future(session));
        let mut client = TestClient {
            inbox,
            outbox,
            task,
            seen: Vec::new(),
            pings: 0,
            close: None,
        };
        client.settle().await;
        assert_eq!(client.seen[0]["op"], 5);
        client
    }

    async fn identified(&self) -> TestClient {
        let mut client = self.connect().await;
        client
            .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
            .await;
        assert_eq!(client.seen[1]["t"], "bot_connect_success");
        client
    }

    fn heartbeat_limit(&self) -> Duration {
        Duration::from_millis(self.settings.v1.heartbeat_interval_ms + self.settings.v1.heartbeat_tolerance_ms)
    }
}

impl TestClient {
    async fn send(&mut self, payload: &Value) {
        let message = Message::Text(payload.to_string().into());
        self.inbox.send(Inbound::Message(message)).unwrap();
        self.settle().await;
    }

    /// Lets every task run until none has anything left to do at this time, then reads what was sent.
    async fn settle(&mut self) {
        for _ in 0..20 {
            yield_now().await;
        }
        for frame in self.outbox.take_frames() {
            match frame[0] {
                0x81 => {
                    let head = if frame[1] < 126 { 2 } else { 4 };
                    self.seen.push(serde_json::from_slice(&frame[head..]).unwrap());
                }
                0x89 => self.pings += usize::from(frame[1] == 0),
                0x88 => self.close = Some(u16::from_be_bytes([frame[2], frame[3]])),
                opcode => panic!("unexpected frame {opcode:#x}"),
            }
        }
    }

    async fn after(&mut self, time: Duration) {
        advance(time).await;
        self.settle().await;
    }

    fn assert_ended(&self, e: u64, close: u16) {
        assert_eq!(self.seen.last().unwrap()["e"], e, "{:?}", self.seen);
        assert_eq!(self.close, Some(close));
    }
}

async fn on_a_node<T>(test: impl AsyncFnOnce(TestNode) -> T) -> T {
    LocalSet::new().run_until(async { test(TestNode::new()).await }).await
}

const MS: Duration = Duration::from_millis(1);
