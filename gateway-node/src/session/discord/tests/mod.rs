//! Discord's protocol as plain code, and as sessions without sockets.

mod answering;
mod ending;
mod payloads;
mod presence;
mod receiving;
mod resuming;

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::AsyncContext;
use serde_json::{Value, json};
use shared::{
    client_type::ClientTypes,
    compression::Level,
    discord::{Header, Target},
    routing::Delivery,
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, LocalSet, yield_now},
    time::advance,
};

use super::*;
use crate::{
    admission::Permit,
    app_state::AppState,
    applications::Applications,
    auth::{Key, Keyring},
    backends::{IdSource, MemoryBackplane, MemoryLimits, MemorySessions},
    backplane::{Backplane, Epoch, Publication, Publishing, ReportLimits, WhenUnavailable},
    config::{ApplicationSettings, KeySettings, Secret, Settings},
    hello_delay::HelloDelay,
    metrics::Metrics,
    registry::{Registry, RegistryShard},
    replay::ReplayLimits,
    resume::DiscordSessions,
    session::{Session, WorkerState},
    transport::{Inbound, Inbox, Outbox},
};

const TOKEN: &str = "development.0123456789abcdef0123456789abcdef";
const MS: Duration = Duration::from_millis(1);
const ALL_INTENTS: u64 = 0b11_0011_0001_1111_1111_1111_1111;

/// A node without sockets.
pub(super) struct DiscordTestNode {
    worker: Rc<WorkerState>,
    settings: Arc<DiscordSessionSettings>,
    registry: Registry,
    keyring: Keyring,
}

/// The client's end of a session.
pub(super) struct DiscordTestClient {
    inbox: mpsc::UnboundedSender<Inbound>,
    outbox: Outbox,
    /// The session's task. Its driver aborts it when the socket is gone.
    pub(super) task: JoinHandle<()>,
    pub(super) seen: Vec<Value>,
    pub(super) close: Option<u16>,
}

impl DiscordTestNode {
    pub(in super::super) fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ApplicationSettings)) -> Self {
        Self::over(change, |registry| {
            let limits = MemoryLimits {
                reports: ReportLimits::default(),
                count_interval: Duration::from_secs(1),
                waiting_bytes: 1 << 20,
                retention: Duration::from_secs(60),
                idempotency_keys: 1000,
                jobs: crate::backplane::JobLimits::for_tests(),
            };
            let deliver = Arc::new(registry.clone());
            let ids = IdSource::from_clock(1_800_000_000_000).unwrap();
            let (backplane, broadcast) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, deliver.clone());
            tokio::task::spawn_local(broadcast);
            let backplane: Arc<dyn Backplane> = Arc::new(backplane);
            let (discord, sweeping) = MemorySessions::new(Arc::clone(&backplane), deliver, Duration::from_secs(60));
            tokio::task::spawn_local(sweeping);
            (backplane, DiscordSessions::new(discord))
        })
    }

    /// Creates a node over the backplane that `connect` makes, which delivers to the given registry.
    pub(super) fn over(
        change: impl FnOnce(&mut ApplicationSettings),
        connect: impl FnOnce(&Registry) -> (Arc<dyn Backplane>, DiscordSessions),
    ) -> Self {
        let key = KeySettings::development(Secret::from(TOKEN.split('.').next_back().unwrap().to_owned()));
        let keyring = Keyring::new(vec![Key::new(&key).unwrap()]);
        let settings = Settings::default();
        let mut application = ApplicationSettings {
            max_concurrency: 100,
            ..ApplicationSettings::from("utilbot")
        };
        change(&mut application);
        let metrics = Arc::new(Metrics::default());
        let buffer = ReplayLimits {
            entries: 100,
            age: Duration::from_secs(600),
            bytes: 1 << 20,
        };
        let registry = Registry::new(
            1,
            1 << 20,
            buffer,
            Level::default(),
            Duration::ZERO,
            Arc::clone(&metrics),
        );
        let (backplane, discord) = connect(&registry);
        let shard = RegistryShard::start(0, registry.clone(), Arc::clone(&backplane), keyring.clone());
        let mut app = AppState::for_tests(
            registry.clone(),
            backplane,
            discord,
            keyring.clone(),
            &settings,
            metrics,
        );
        app.applications = Applications::new(&[application]);
        let worker = WorkerState {
            app,
            shard,
            turns: crate::session::Turns::default(),
            member_lists: crate::session::MemberLists::new(Duration::ZERO),
            client_names: crate::session::ClientNames::default(),
        };
        Self {
            worker: Rc::new(worker),
            settings: Arc::new(DiscordSessionSettings::new(
                &settings,
                HelloDelay::default(),
                "node".into(),
            )),
            registry,
            keyring,
        }
    }

    async fn connect(&self) -> DiscordTestClient {
        self.connect_with("10").await
    }

    async fn connect_with(&self, v: &str) -> DiscordTestClient {
        let mut client = self.open(v);
        client.after(self.settings.hello_delay + MS).await;
        client
    }

    /// Opens a connection, before anything is sent on it.
    pub(super) fn open(&self, v: &str) -> DiscordTestClient {
        let outbox = Outbox::new(1 << 20);
        let (inbox, received) = mpsc::unbounded_channel();
        let query = Query::parse(Some(v), Some("json"), None).unwrap();
        let protocol = Discord::new(
            query,
            "ws://localhost".into(),
            Arc::clone(&self.settings),
            Instant::now(),
        );
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
        DiscordTestClient {
            inbox,
            outbox,
            task,
            seen: Vec::new(),
            close: None,
        }
    }

    /// Returns a client that has a session, and the session's id.
    pub(in super::super) async fn identified(&self, intents: u64) -> (DiscordTestClient, String) {
        let mut client = self.connect().await;
        client.send(&identify(intents)).await;
        let ready = client.seen.last().unwrap();
        assert_eq!(
            (&ready["t"], &ready["s"]),
            (&json!("READY"), &json!(1)),
            "{:?}",
            client.seen
        );
        let id = ready["d"]["session_id"].as_str().unwrap().to_owned();
        (client, id)
    }

    /// Returns a client that has asked to resume a session.
    pub(in super::super) async fn resumed(&self, id: &str, seq: u64) -> DiscordTestClient {
        let mut client = self.connect().await;
        client.send(&resume(id, seq)).await;
        client
    }

    pub(in super::super) async fn publish(&self, name: &str, d: &Value) {
        self.publish_to(name, d, Target::All).await;
    }

    async fn publish_to(&self, name: &str, d: &Value, target: Target) {
        self.try_publish_to(name, d, target).await.unwrap();
    }

    /// Like `publish_to`, if the publication may be refused.
    pub(super) async fn try_publish_to(&self, name: &str, d: &Value, target: Target) -> Result<(), PublishError> {
        let d = d.to_string();
        let event = Publication {
            name: name.into(),
            discord: Some(Arc::new(Header::of(name, &d, target, None))),
            d: d.into(),
            ..Publication::example(Delivery::All, ClientTypes::NONE)
        };
        let publishing = Publishing {
            application: "utilbot".into(),
            events: vec![event],
            idempotency: None,
            when_unavailable: WhenUnavailable::Hold,
        };
        self.worker.app.backplane.publish(publishing).await.map(drop)
    }
}

pub(super) fn identify(intents: u64) -> Value {
    json!({"op": 2, "d": {"token": format!("Bot {TOKEN}"), "properties": {}, "intents": intents}})
}

pub(super) fn resume(id: &str, seq: u64) -> Value {
    json!({"op": 6, "d": {"token": TOKEN, "session_id": id, "seq": seq}})
}

impl DiscordTestClient {
    pub(in super::super) async fn send(&mut self, payload: &Value) {
        let message = Message::Text(payload.to_string().into());
        // A closed connection receives nothing more.
        let _ = self.inbox.send(Inbound::Message(message));
        self.settle().await;
    }

    /// Lets every task run until none has anything left to do at this time, then reads what was sent.
    pub(in super::super) async fn settle(&mut self) {
        for _ in 0..40 {
            yield_now().await;
        }
        for frame in self.outbox.take_frames() {
            let head = match frame[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            match frame[0] {
                0x81 => self.seen.push(serde_json::from_slice(&frame[head..]).unwrap()),
                0x88 => self.close = Some(u16::from_be_bytes([frame[2], frame[3]])),
                opcode => panic!("unexpected frame {opcode:#x}"),
            }
        }
    }

    /// Does what a connection's driver does over time.
    pub(super) async fn drive(&mut self) {
        if self.outbox.take_drained() {
            // A closed connection receives nothing more.
            let _ = self.inbox.send(Inbound::Drained);
        }
        self.settle().await;
    }

    async fn after(&mut self, time: Duration) {
        self.settle().await;
        advance(time).await;
        self.settle().await;
    }

    /// Cuts the connection without a Close frame.
    pub(in super::super) async fn cut(mut self) {
        self.inbox.send(Inbound::Lost).unwrap();
        self.settle().await;
        self.task.abort();
    }

    /// Reports that the driver has written everything.
    async fn drained(&mut self) {
        self.inbox.send(Inbound::Drained).unwrap();
        self.settle().await;
    }

    /// Returns the dispatches received: sequence number, and the name or the value of `n` in the data.
    pub(in super::super) fn dispatches(&self) -> Vec<(u64, String)> {
        let dispatches = self.seen.iter().filter(|payload| payload["op"] == 0);
        dispatches
            .map(|it| {
                let name = it["t"].as_str().unwrap().to_owned();
                let n = it["d"]["n"].as_u64().map(|n| n.to_string());
                (it["s"].as_u64().unwrap(), n.unwrap_or(name))
            })
            .collect()
    }
}

fn numbered(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(s, body)| (*s, (*body).to_owned())).collect()
}

async fn on<T>(node: impl FnOnce() -> DiscordTestNode, test: impl AsyncFnOnce(DiscordTestNode) -> T) -> T {
    LocalSet::new().run_until(async { test(node()).await }).await
}
