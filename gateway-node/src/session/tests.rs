//! Sessions as actors under a paused clock: no socket, a real registry and a real backplane.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::AsyncContext;
use serde_json::{Value, json};
use shared::{
    client_type::ClientType,
    compression::Level,
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::{Receipt, Report},
};
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
    backplane::{
        Backplane, BackplaneStatus, CommandReach, Deliver, Entry, Epoch, JoinError, Joined, Joining, LogRange, Peer,
        Pending, Position, Publication, PublishError, Publishing, Reply, ReplyAddress, ReportLimits, Unavailable,
        WhenUnavailable,
    },
    config::{KeySettings, Secret, Settings},
    events::Events,
    metrics::Metrics,
    registry::{EndReason, Registry, RegistryShard},
    replay::ReplayLimits,
    resume::DiscordSessions,
    transport::{Inbound, Inbox, Message, Outbox},
};

/// A backplane that answers a join after one second.
struct Distant(Arc<dyn Backplane>);

impl Backplane for Distant {
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        let answer = self.0.join(joining);
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer.await
        })
    }

    fn ready(&self, application: &str, id: SessionId) {
        self.0.ready(application, id);
    }

    fn leave(&self, application: &str, id: SessionId) {
        self.0.leave(application, id);
    }

    fn report(
        &self,
        application: &str,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> Pending<Position, Unavailable> {
        self.0.report(application, id, key, report)
    }

    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError> {
        self.0.publish(publishing)
    }

    fn log_range(&self, application: &str) -> Pending<LogRange, Unavailable> {
        self.0.log_range(application)
    }

    fn ack(&self, entry: &Entry) {
        self.0.ack(entry);
    }

    fn redeliver(&self, entry: &Entry) {
        self.0.redeliver(entry);
    }

    fn reply_address(&self) -> ReplyAddress {
        self.0.reply_address()
    }

    fn reply(&self, to: ReplyAddress, receipt: Receipt, reply: Reply, until: Instant) {
        self.0.reply(to, receipt, reply, until);
    }

    fn command_all(&self, application: &Arc<str>, command: &str) -> Pending<CommandReach, Unavailable> {
        self.0.command_all(application, command)
    }

    fn is_flushed(&self) -> bool {
        self.0.is_flushed()
    }

    fn status(&self) -> BackplaneStatus {
        self.0.status()
    }

    fn known_peers(&self) -> Option<Arc<[Peer]>> {
        self.0.known_peers()
    }

    fn retire(&self) -> Pending<(), Unavailable> {
        self.0.retire()
    }

    fn peers(&self) -> Pending<Vec<Peer>, Unavailable> {
        self.0.peers()
    }
}

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

#[tokio::test(start_paused = true)]
async fn a_client_without_heartbeats_gets_4006_when_the_next_one_was_due() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4006, 4006);
        assert_eq!(node.registry.counts().open(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_pinged_and_one_that_is_sent_something_is_not() {
    on_a_node(async |node| {
        let interval = Duration::from_millis(node.settings.v1.ping_interval_ms);
        let (mut idle, mut receiver) = (node.identified().await, node.identified().await);
        let mut sender = node.identified().await;
        for _ in 0..4 {
            for client in [&mut idle, &mut receiver] {
                client.after(interval / 4).await;
            }
            sender.send(&json!({"op": 10})).await;
        }
        // Twice the interval has passed. What a client sends does not delay its ping, an answer does.
        idle.settle().await;
        assert_eq!((idle.pings, receiver.pings, sender.pings), (2, 2, 0));
        for client in [&mut receiver, &mut sender] {
            client.send(&json!({"op": 10})).await;
        }
        for _ in 0..4 {
            sender.send(&json!({"op": 1, "t": "announce", "d": {}})).await;
            receiver.after(interval / 2).await;
        }
        sender.settle().await;
        assert_eq!((receiver.pings, sender.pings), (2, 2));
        assert_eq!(receiver.seen.last().unwrap()["t"], "announce");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_heartbeats_move_the_deadline() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        client.send(&json!({"op": 10})).await;
        assert_eq!(client.seen.last().unwrap(), &json!({"op": 11}));
        client.after(node.heartbeat_limit().saturating_sub(MS)).await;
        client.send(&json!({"op": 1, "t": "announce", "d": {}})).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4006, 4006);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_identify_in_time_gets_4007() {
    on_a_node(async |node| {
        let mut client = node.connect().await;
        client
            .after(Duration::from_millis(node.settings.session.identify_timeout_ms - 1))
            .await;
        client.send(&json!({"op": 10})).await;
        assert_eq!(client.close, None);
        client.after(2 * MS).await;
        client.assert_ended(4007, 4007);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_many_intervals_ends_a_session_once() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        let before = client.seen.len();
        client.after(20 * node.heartbeat_limit()).await;
        client.assert_ended(4006, 4006);
        assert_eq!(client.seen.len(), before + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_identified_and_unidentified_sessions_within_the_spread() {
    on_a_node(async |node| {
        let mut clients = [node.identified().await, node.connect().await];
        node.registry.end_reason(EndReason::Restarting, Duration::from_secs(2));
        for client in &mut clients {
            client.settle().await;
        }
        advance(Duration::from_secs(2) + MS).await;
        for client in &mut clients {
            client.settle().await;
            client.assert_ended(1000, 1012);
        }
        // A session that opens after all others were told to leave is told at once.
        let late = node.connect().await;
        late.assert_ended(1000, 1012);
        assert_eq!(node.registry.counts().open(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_its_sessions_within_a_second() {
    on_a_node(async |node| {
        let mut client = node.identified().await;
        let mut stranger = node.connect().await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1)).await;
        client.assert_ended(4001, 4001);
        stranger.settle().await;
        assert_eq!(stranger.close, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_revoked_during_a_join_ends_the_session_with_4001() {
    let far = async || {
        let node = TestNode::made_of(clock(), |backplane| Arc::new(Distant(backplane)));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
            .await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1) + MS).await;
        client.assert_ended(4001, 4001);
        assert_eq!(node.registry.counts().snapshot().bot, 0);
    };
    LocalSet::new().run_until(far()).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_gets_1013_until_all_keys_are_loaded() {
    let early = async || {
        let node = TestNode::with(clock(), Keyring::partial(Vec::new()), |backplane| backplane);
        for (is_complete, (e, close)) in [(false, (1000, 1013)), (true, (4001, 4001))] {
            if is_complete {
                node.keyring.complete();
            }
            let mut client = node.connect().await;
            client
                .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
                .await;
            client.assert_ended(e, close);
        }
    };
    LocalSet::new().run_until(early()).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_sessions_identified_before_it_but_not_its_sender() {
    on_a_node(async |node| {
        let mut first = node.identified().await;
        let mut second = node.identified().await;
        first.send(&json!({"op": 1, "t": "announce", "d": {"n": 1}})).await;
        let mut third = node.identified().await;
        second.settle().await;
        assert_eq!(
            second.seen.last().unwrap(),
            &json!({"op": 0, "t": "announce", "d": {"n": 1}})
        );
        third.settle().await;
        for client in [&first, &third] {
            assert!(
                client.seen.iter().all(|payload| payload["t"] != "announce"),
                "{:?}",
                client.seen
            );
        }
        assert_eq!(node.registry.counts().snapshot().bot, 3);
        assert_eq!(node.worker.app.metrics.encoded_text.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_divergence_stops_deliveries_at_once_and_ends_the_sessions_within_the_spread() {
    on_a_node(async |node| {
        let publish = async |name: &str, delivery, n: u64| {
            let event = Publication {
                name: name.into(),
                receivers: ClientType::Bot.into(),
                delivery,
                author: None,
                require_receiver: false,
                user: None,
                to_tickets: false,
                trace: None,
                request: None,
                job: None,
                discord: None,
                d: json!({ "n": n }).to_string().into(),
            };
            let publishing = Publishing {
                application: "utilbot".into(),
                events: vec![event],
                idempotency: None,
                when_unavailable: WhenUnavailable::Hold,
            };
            node.worker.app.backplane.publish(publishing).await.unwrap();
        };
        let numbers = |client: &TestClient| -> Vec<_> {
            let numbers = client.seen.iter().filter_map(|payload| payload["d"]["n"].as_u64());
            numbers.collect()
        };
        let report = json!({ "op": 1, "t": "send_servers", "d": { "guilds": [1], "guildMembers": 1 } });
        let mut severed = node.identified().await;
        severed.send(&report).await;
        publish("announce", Delivery::All, 1).await;
        severed.settle().await;
        node.registry.gap(&"utilbot".into());
        // Its only receiver is chosen before the divergence is noticed.
        publish("settings", Delivery::Guild(GuildId::from_raw(1)), 6).await;
        publish("announce", Delivery::All, 2).await;
        severed.settle().await;
        // Sessions that join now belong to the new side.
        let mut late = node.identified().await;
        late.send(&report).await;
        publish("announce", Delivery::All, 3).await;
        // "Any" events go to one session each.
        for n in 4..6 {
            publish("job", Delivery::Any, n).await;
        }
        late.settle().await;
        let mut received = numbers(&late);
        received.sort_unstable();
        assert_eq!(received, [3, 4, 5, 6]);
        severed.after(Duration::from_secs(1) + MS).await;
        severed.assert_ended(1000, 1012);
        assert_eq!(numbers(&severed), [1]);
        late.settle().await;
        assert_eq!((late.close, node.registry.counts().open()), (None, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_leaving_session_reaches_another() {
    on_a_node(async |node| {
        let leaving = node.identified().await;
        let mut staying = node.identified().await;
        // The client is gone, but the node does not know that yet when the two events choose both sessions in turn.
        leaving.inbox.send(Inbound::Lost).unwrap();
        for n in 0..2 {
            let event = Publication {
                name: "job".into(),
                receivers: ClientType::Bot.into(),
                delivery: Delivery::Any,
                author: None,
                require_receiver: false,
                user: None,
                to_tickets: false,
                trace: None,
                request: None,
                job: None,
                discord: None,
                d: json!({"n": n}).to_string().into(),
            };
            node.worker
                .app
                .backplane
                .publish(Publishing {
                    application: "utilbot".into(),
                    events: vec![event],
                    idempotency: None,
                    when_unavailable: WhenUnavailable::Hold,
                })
                .await
                .unwrap();
        }
        staying.settle().await;
        let mut jobs: Vec<_> = staying
            .seen
            .iter()
            .filter(|payload| payload["t"] == "job")
            .map(|job| job["d"]["n"].as_u64())
            .collect();
        jobs.sort_unstable();
        assert_eq!(jobs, [Some(0), Some(1)]);
        assert_eq!(
            node.worker.app.metrics.entries.get(),
            3,
            "one of them was appended twice"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_join_answered_after_its_session_ended_is_undone() {
    let far = async || {
        let ids = IdSource::Fixed(SessionId::from_raw(7));
        let node = TestNode::made_of(ids, |backplane| Arc::new(Distant(backplane)));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
            .await;
        assert_eq!(client.seen.len(), 1, "the answer is under way");
        // The next session gets the same id if no other session has it.
        let join = || {
            let joining = Joining {
                application: "utilbot".into(),
                kind: ClientType::Bot,
                ticket: None,
                worker: None,
            };
            node.worker.app.backplane.join(joining)
        };
        assert_eq!(join().await.unwrap_err(), JoinError::IdTaken, "it is a member already");
        client.task.abort();
        client.settle().await;
        client.after(Duration::from_secs(1) + MS).await;
        assert_eq!(join().await.map(|joined| joined.id), Ok(SessionId::from_raw(7)));
    };
    LocalSet::new().run_until(far()).await;
}
