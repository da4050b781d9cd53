//! Versions 6 to 10 as plain code, and as sessions without a socket.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::AsyncContext;
use serde_json::{Value, json};
use shared::{
    client_type::ClientTypes,
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
    applications::Applications,
    auth::{Key, Keyring},
    cluster::{
        Backplane, DiscordSessions, Epoch, Haste, IdSource, MemoryBackplane, MemoryLimits, MemorySessions, Publication,
        Publishing,
    },
    config::{ApplicationSettings, KeySettings, Secret, Settings},
    metrics::Metrics,
    problems::Problems,
    registry::{Registry, Shard, TailLimits},
    session::{Services, Session},
    transport::{Inbound, Outbox},
};

const TOKEN: &str = "development.0123456789abcdef0123456789abcdef";
const MS: Duration = Duration::from_millis(1);
const ALL_INTENTS: u64 = 0b11_0011_0001_1111_1111_1111_1111;

/// A node without sockets.
pub(super) struct Node {
    services: Rc<Services>,
    rules: Arc<Rules>,
    registry: Registry,
    keyring: Keyring,
}

/// The far end of a session.
pub(super) struct Client {
    inbox: mpsc::UnboundedSender<Inbound>,
    outbox: Outbox,
    /// The session; aborting it is what its driver does when the socket is gone.
    task: JoinHandle<()>,
    seen: Vec<Value>,
    close: Option<u16>,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ApplicationSettings)) -> Self {
        let key = KeySettings::development(Secret::from(TOKEN.split('.').next_back().unwrap().to_owned()));
        let keyring = Keyring::new(vec![Key::new(&key).unwrap()]);
        let settings = Settings::default();
        let mut application = ApplicationSettings {
            max_concurrency: 100,
            ..ApplicationSettings::from("utilbot")
        };
        change(&mut application);
        let metrics = Arc::new(Metrics::default());
        let tail = TailLimits {
            entries: 100,
            age: Duration::from_secs(600),
            bytes: 1 << 20,
        };
        let registry = Registry::new(1, 1 << 20, tail, Duration::ZERO, Arc::clone(&metrics));
        let limits = MemoryLimits {
            count_interval: Duration::from_secs(1),
            retention: Duration::from_secs(60),
        };
        let deliver = Arc::new(registry.clone());
        let ids = IdSource::from_clock(1_800_000_000_000).unwrap();
        let (backplane, broadcast) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, deliver.clone());
        tokio::task::spawn_local(broadcast);
        let backplane: Arc<dyn Backplane> = Arc::new(backplane);
        let (discord, sweeping) = MemorySessions::new(Arc::clone(&backplane), deliver, Duration::from_secs(60));
        let discord = DiscordSessions::new(discord);
        tokio::task::spawn_local(sweeping);
        let shard = Shard::start(0, registry.clone(), Arc::clone(&backplane), keyring.clone());
        let services = Services {
            shard,
            registry: registry.clone(),
            backplane,
            discord,
            applications: Applications::new(&[application]),
            keyring: keyring.clone(),
            metrics,
            problems: Problems::default(),
        };
        Self {
            services: Rc::new(services),
            rules: Arc::new(Rules::new(&settings, "node".into())),
            registry,
            keyring,
        }
    }

    async fn connect(&self) -> Client {
        self.connect_with("10").await
    }

    async fn connect_with(&self, v: &str) -> Client {
        let outbox = Outbox::new(1 << 16);
        let (inbox, received) = mpsc::unbounded_channel();
        let query = Query::parse(Some(v), Some("json"), None).unwrap();
        let protocol = Discord::new(query, "ws://localhost".into(), Arc::clone(&self.rules), Instant::now());
        let address = IpAddr::from([127, 0, 0, 1]);
        let session = Session::new(protocol, outbox.clone(), address, Rc::clone(&self.services));
        let received = futures_util::stream::unfold(received, |mut received| async move {
            let inbound = received.recv().await?;
            Some((inbound, received))
        });
        let mut context = actix::Context::new();
        context.add_stream(received);
        let task = tokio::task::spawn_local(context.into_future(session));
        let mut client = Client {
            inbox,
            outbox,
            task,
            seen: Vec::new(),
            close: None,
        };
        client.after(self.rules.hello_delay + MS).await;
        client
    }

    /// A client that has its session, and the session's id.
    pub(super) async fn identified(&self, intents: u64) -> (Client, String) {
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

    /// A client that has asked to go on with a session.
    pub(super) async fn resumed(&self, id: &str, seq: u64) -> Client {
        let mut client = self.connect().await;
        client.send(&resume(id, seq)).await;
        client
    }

    pub(super) async fn publish(&self, name: &str, d: &Value) {
        self.publish_to(name, d, Target::All).await;
    }

    async fn publish_to(&self, name: &str, d: &Value, target: Target) {
        let d = d.to_string();
        let event = Publication {
            name: name.into(),
            receivers: ClientTypes::NONE,
            delivery: Delivery::All,
            author: None,
            discord: Some(Arc::new(Header::of(name, &d, target, None))),
            d: d.into(),
        };
        let publishing = Publishing {
            application: "utilbot".into(),
            events: vec![event],
            haste: Haste::Patient,
        };
        self.services.backplane.publish(publishing).await.unwrap();
    }
}

fn identify(intents: u64) -> Value {
    json!({"op": 2, "d": {"token": format!("Bot {TOKEN}"), "properties": {}, "intents": intents}})
}

fn resume(id: &str, seq: u64) -> Value {
    json!({"op": 6, "d": {"token": TOKEN, "session_id": id, "seq": seq}})
}

impl Client {
    pub(super) async fn send(&mut self, payload: &Value) {
        let message = Message::Text(payload.to_string().into());
        // One that is closed hears nothing more.
        let _ = self.inbox.send(Inbound::Message(message));
        self.settle().await;
    }

    /// Lets every task run until none has anything to do at this time, then reads what was sent.
    pub(super) async fn settle(&mut self) {
        for _ in 0..40 {
            yield_now().await;
        }
        for frame in self.outbox.take_frames() {
            let head = match frame[1] {
                126 => 4,
                _ => 2,
            };
            match frame[0] {
                0x81 => self.seen.push(serde_json::from_slice(&frame[head..]).unwrap()),
                0x88 => self.close = Some(u16::from_be_bytes([frame[2], frame[3]])),
                opcode => panic!("unexpected frame {opcode:#x}"),
            }
        }
    }

    async fn after(&mut self, time: Duration) {
        self.settle().await;
        advance(time).await;
        self.settle().await;
    }

    /// The socket is gone without a word.
    pub(super) async fn cut(mut self) {
        self.inbox.send(Inbound::Gone(None)).unwrap();
        self.settle().await;
        self.task.abort();
    }

    /// The driver has written everything.
    async fn drained(&mut self) {
        self.inbox.send(Inbound::Drained).unwrap();
        self.settle().await;
    }

    /// The dispatches that it has seen: number and name, or the value of `n` in the data.
    pub(super) fn dispatches(&self) -> Vec<(u64, String)> {
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
    list.iter().map(|(s, what)| (*s, (*what).to_owned())).collect()
}

async fn on<T>(node: impl FnOnce() -> Node, test: impl AsyncFnOnce(Node) -> T) -> T {
    LocalSet::new().run_until(async { test(node()).await }).await
}

#[tokio::test(start_paused = true)]
async fn hello_comes_a_while_after_the_upgrade_and_heartbeats_are_acknowledged_at_once() {
    on(Node::new, async |node| {
        let mut client = node.connect().await;
        assert_eq!(client.seen[0]["op"], 10);
        assert_eq!(client.seen[0]["d"]["heartbeat_interval"], 41_250);
        for d in [Value::Null, json!(0), json!(5)] {
            client.send(&json!({"op": 1, "d": d})).await;
            assert_eq!(client.seen.last().unwrap()["op"], 11);
        }
        assert_eq!(client.close, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_wrong_payload_has_its_close_code() {
    on(Node::new, async |node| {
        let before = [
            (json!([]), 4002),
            (json!({"op": 0, "d": {}}), 4001),
            (json!({"op": 99, "d": {}}), 4001),
            (json!({"op": 3, "d": {"status": "online"}}), 4003),
            (json!({"op": 8, "d": {}}), 4003),
            (json!({"op": 2, "d": 1}), 4001),
            (json!({"op": 2, "d": {"token": "nobody.x", "intents": 0}}), 4004),
            (json!({"op": 2, "d": {"token": 5, "intents": 0}}), 4004),
            (json!({"op": 6, "d": {"token": "x", "session_id": "1", "seq": 1}}), 4004),
            (
                json!({"op": 2, "d": {"token": TOKEN, "intents": 0, "shard": [2, 2]}}),
                4010,
            ),
            (json!({"op": 2, "d": {"token": TOKEN}}), 4013),
            (json!({"op": 2, "d": {"token": TOKEN, "intents": 1 << 30}}), 4013),
        ];
        for (payload, code) in before {
            let mut client = node.connect().await;
            client.send(&payload).await;
            assert_eq!(client.close, Some(code), "{payload}");
        }
        let after = [
            (identify(0), 4005),
            (resume("1", 1), 4005),
            (json!({"op": 8, "d": {}}), 4001),
            (json!({"op": 7}), 4001),
            (json!({"op": 1, "d": "x".repeat(5000)}), 4002),
        ];
        for (payload, code) in after {
            let (mut client, _) = node.identified(0).await;
            client.send(&payload).await;
            assert_eq!(client.close, Some(code), "{payload}");
        }
        let mut client = node.connect().await;
        client.inbox.send(Inbound::Message(Message::Text("{".into()))).unwrap();
        client.settle().await;
        assert_eq!(client.close, Some(4002));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn privileged_intents_are_for_those_who_may_have_them() {
    let strict = || Node::with(|application| application.privileged_intents = Vec::new());
    on(strict, async |node| {
        let mut client = node.connect().await;
        client.send(&identify(1 << 15)).await;
        assert_eq!(client.close, Some(4014));
        node.identified(1).await;
        // Older versions may leave them out and get what there is for them.
        let mut old = node.connect_with("6").await;
        old.send(&json!({"op": 2, "d": {"token": TOKEN}})).await;
        node.publish("GUILD_MEMBER_ADD", &json!({"guild_id": "1"})).await;
        node.publish("CHANNEL_CREATE", &json!({"guild_id": "1"})).await;
        old.settle().await;
        assert_eq!(old.dispatches(), numbered(&[(1, "READY"), (2, "CHANNEL_CREATE")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dispatches_are_numbered_for_each_session_by_what_it_wants() {
    on(Node::new, async |node| {
        let (mut guilds, _) = node.identified(1).await;
        let (mut messages, _) = node.identified(1 << 9 | 1 << 12).await;
        for n in 0..6 {
            let name = if n % 3 == 0 { "CHANNEL_CREATE" } else { "MESSAGE_CREATE" };
            node.publish(name, &json!({"guild_id": "1", "n": n, "content": "secret"}))
                .await;
        }
        guilds.settle().await;
        messages.settle().await;
        assert_eq!(guilds.dispatches(), numbered(&[(1, "READY"), (2, "0"), (3, "3")]));
        let expected = numbered(&[(1, "READY"), (2, "1"), (3, "2"), (4, "4"), (5, "5")]);
        assert_eq!(messages.dispatches(), expected);
        assert_eq!(
            messages.seen.last().unwrap()["d"]["content"],
            "",
            "it has not asked for the content"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_one_session_reaches_that_one() {
    on(Node::new, async |node| {
        let (mut first, id) = node.identified(0).await;
        let (mut second, _) = node.identified(0).await;
        node.publish_to("X", &json!({"n": 1}), Target::Session(id.parse().unwrap()))
            .await;
        node.publish("X", &json!({"n": 2})).await;
        first.settle().await;
        second.settle().await;
        assert_eq!(first.dispatches(), numbered(&[(1, "READY"), (2, "1"), (3, "2")]));
        assert_eq!(second.dispatches(), numbered(&[(1, "READY"), (2, "2")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_where_its_client_is() {
    on(Node::new, async |node| {
        let (mut client, id) = node.identified(ALL_INTENTS).await;
        for n in 0..3 {
            node.publish("X", &json!({"n": n})).await;
        }
        client.settle().await;
        client.send(&json!({"op": 1, "d": 3})).await;
        client.cut().await;
        for n in 3..5 {
            node.publish("X", &json!({"n": n})).await;
        }
        // It has seen up to 3: what was written after it may not have arrived.
        let mut again = node.resumed(&id, 3).await;
        let expected = numbered(&[(4, "2"), (5, "3"), (6, "4"), (7, "RESUMED")]);
        assert_eq!(again.dispatches(), expected);
        assert_eq!(again.seen.last().unwrap()["d"], json!({}));
        node.publish("X", &json!({"n": 5})).await;
        again.settle().await;
        assert_eq!(again.dispatches().last(), Some(&(8, "5".to_owned())));
        // Once more, from before RESUMED: it is replayed at its place.
        again.cut().await;
        let third = node.resumed(&id, 6).await;
        assert_eq!(
            third.dispatches(),
            numbered(&[(7, "RESUMED"), (8, "5"), (9, "RESUMED")])
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_counts_nothing_resumes_and_never_gets_ready_twice() {
    on(Node::new, async |node| {
        let (client, id) = node.identified(0).await;
        node.publish("X", &json!({"n": 1})).await;
        client.cut().await;
        let again = node.resumed(&id, 0).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "1"), (3, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_resumed_is_answered_by_op_9_after_a_while() {
    on(Node::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for (id, seq) in [("1", 1), ("nonsense", 1), (&*id, 50)] {
            let mut again = node.resumed(id, seq).await;
            assert_eq!(again.seen.len(), 1, "{id}");
            again.after(Duration::from_millis(999)).await;
            assert_eq!(again.seen.len(), 1, "{id}");
            again.after(Duration::from_secs(4)).await;
            let last = again.seen.last().unwrap();
            assert_eq!((&last["op"], &last["d"]), (&json!(9), &json!(false)), "{id}");
            // The same connection takes another try.
            again.send(&identify(0)).await;
            assert_eq!(again.seen.last().unwrap()["t"], "READY", "{id}");
        }
        let mut idle = node.resumed("1", 1).await;
        idle.after(Duration::from_secs(5)).await;
        assert_eq!(idle.close, None);
        idle.after(SECOND_TRY).await;
        assert_eq!(idle.close, Some(4000));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_with_1000_or_1001_ends_its_session_and_with_any_other_code_does_not() {
    on(Node::new, async |node| {
        for (code, goes_on) in [
            (Some(1000), false),
            (Some(1001), false),
            (Some(4000), true),
            (None, true),
        ] {
            let (mut client, id) = node.identified(0).await;
            client.inbox.send(Inbound::Gone(code)).unwrap();
            client.settle().await;
            let again = node.resumed(&id, 1).await;
            let resumed = again.dispatches() == numbered(&[(2, "RESUMED")]);
            assert_eq!(resumed, goes_on, "{code:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_has_one_connection() {
    on(Node::new, async |node| {
        let (mut first, id) = node.identified(0).await;
        let mut second = node.resumed(&id, 1).await;
        first.settle().await;
        assert_eq!(first.close, Some(4000));
        node.publish("X", &json!({"n": 1})).await;
        first.settle().await;
        second.settle().await;
        assert_eq!(first.dispatches(), numbered(&[(1, "READY")]));
        assert_eq!(second.dispatches(), numbered(&[(2, "RESUMED"), (3, "1")]));
        // The late farewell of the first one ends nothing.
        first.task.abort();
        let third = node.resumed(&id, 3).await;
        assert_eq!(third.dispatches(), numbered(&[(4, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_replay_waits_for_its_reader() {
    on(Node::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for n in 0..100 {
            node.publish("X", &json!({"n": n})).await;
        }
        let mut again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches().len(), 64);
        node.publish("X", &json!({"n": 100})).await;
        again.settle().await;
        assert_eq!(again.dispatches().len(), 64);
        again.drained().await;
        let seen = again.dispatches();
        let numbers: Vec<_> = seen.iter().map(|(s, _)| *s).collect();
        assert_eq!(numbers, (2..=103).collect::<Vec<_>>());
        assert_eq!(seen.last().unwrap().1, "RESUMED");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_log_no_longer_has_is_no_silent_gap() {
    on(Node::new, async |node| {
        let (client, id) = node.identified(0).await;
        client.cut().await;
        for n in 0..101 {
            node.publish("X", &json!({"n": n})).await;
        }
        let mut again = node.resumed(&id, 1).await;
        again.after(Duration::from_secs(5)).await;
        assert_eq!(again.dispatches(), []);
        assert_eq!(again.seen.last().unwrap()["op"], 9);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_heartbeats_times_out_and_can_be_resumed() {
    on(Node::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        client.after(node.rules.heartbeat_limit.saturating_sub(2 * MS)).await;
        assert_eq!(client.close, None);
        client.after(3 * MS).await;
        assert_eq!(client.close, Some(4009));
        client.task.abort();
        let again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_neither_identifies_nor_resumes_is_closed_with_4000() {
    on(Node::new, async |node| {
        let mut client = node.connect().await;
        let mut beating = node.connect().await;
        let half = node.rules.heartbeat_limit / 2;
        client.after(half).await;
        beating.send(&json!({"op": 1, "d": null})).await;
        client.after(half).await;
        assert_eq!(client.close, Some(4000));
        // A shard that waits for its turn beats meanwhile, but not for ever.
        beating.settle().await;
        assert_eq!(beating.close, None);
        for _ in 0..100 {
            beating.send(&json!({"op": 1, "d": null})).await;
            beating.after(half).await;
        }
        assert_eq!(beating.close, Some(4000));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_minute_has_so_many_payloads_and_heartbeats_beside_them() {
    on(Node::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        for n in 1..120 {
            client.send(&json!({"op": 3, "d": {"status": "online"}})).await;
            assert_eq!(client.close, None, "{n}");
        }
        client.send(&json!({"op": 1, "d": null})).await;
        assert_eq!(client.close, None);
        client.send(&json!({"op": 3, "d": {"status": "online"}})).await;
        assert_eq!(client.close, Some(4008));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn identifies_are_paced_and_counted() {
    let paced = || {
        Node::with(|application| {
            application.max_concurrency = 1;
            application.session_starts_per_day = 2;
        })
    };
    on(paced, async |node| {
        node.identified(0).await;
        let mut second = node.connect().await;
        second.send(&identify(0)).await;
        second.after(Duration::from_secs(5)).await;
        assert_eq!(second.seen.last().unwrap()["op"], 9);
        second.send(&identify(0)).await;
        assert_eq!(second.seen.last().unwrap()["t"], "READY");
        let mut third = node.connect().await;
        third.after(Duration::from_secs(6)).await;
        third.send(&identify(0)).await;
        third.after(Duration::from_secs(5)).await;
        assert_eq!(third.seen.last().unwrap()["op"], 9, "the day is over");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_asks_to_reconnect_and_closes_with_4000_later() {
    on(Node::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        node.registry.farewell(Farewell::Restarting, Duration::ZERO);
        client.after(MS).await;
        assert_eq!(client.seen.last().unwrap()["op"], 7);
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(2, "1".to_owned())));
        client.after(node.rules.grace).await;
        assert_eq!(client.close, Some(4000));
        assert!(!id.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_sessions() {
    on(Node::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1)).await;
        assert_eq!(client.close, Some(4004));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_cannot_be_repaired_is_told() {
    on(Node::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        crate::cluster::Deliver::missed(&node.registry, &"utilbot".into());
        client.after(MS).await;
        let last = client.seen.last().unwrap();
        assert_eq!((&last["op"], &last["d"]), (&json!(9), &json!(false)));
        node.publish("X", &json!({"n": 1})).await;
        client.settle().await;
        assert_eq!(client.dispatches(), numbered(&[(1, "READY")]));
        client.send(&identify(0)).await;
        let ready = client.seen.last().unwrap();
        assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)));
        assert_ne!(ready["d"]["session_id"].as_str(), Some(&*id));
        assert_eq!(node.registry.census().headcount().discord, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_closed_with_4000_and_resumes() {
    on(Node::new, async |node| {
        let (mut client, id) = node.identified(0).await;
        client.inbox.send(Inbound::TooSlow).unwrap();
        client.settle().await;
        assert_eq!(client.close, Some(4000));
        client.task.abort();
        let again = node.resumed(&id, 1).await;
        assert_eq!(again.dispatches(), numbered(&[(2, "RESUMED")]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_in_the_numbers_of_the_session() {
    on(Node::new, async |node| {
        let (mut client, _) = node.identified(0).await;
        client
            .send(&json!({"op": 8, "d": {"guild_id": "5", "user_ids": [7], "nonce": "n"}}))
            .await;
        let chunk = client.seen.last().unwrap();
        assert_eq!((&chunk["t"], &chunk["s"]), (&json!("GUILD_MEMBERS_CHUNK"), &json!(2)));
        let expected = json!({
            "guild_id": "5", "members": [], "chunk_index": 0, "chunk_count": 1, "not_found": ["7"], "nonce": "n",
        });
        assert_eq!(chunk["d"], expected);
        client.send(&json!({"op": 31, "d": {"guild_ids": ["5"]}})).await;
        client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
        client.send(&json!({"op": 5, "d": null})).await;
        let expected = numbered(&[
            (1, "READY"),
            (2, "GUILD_MEMBERS_CHUNK"),
            (3, "SOUNDBOARD_SOUNDS"),
            (4, "CHANNEL_INFO"),
        ]);
        assert_eq!(client.dispatches(), expected);
    })
    .await;
}

#[test]
fn what_is_not_spoken_is_closed_at_once() {
    for (v, encoding, compress, code) in [
        ("11", "json", None, 4012),
        ("10", "xml", None, 4002),
        ("10", "json", Some("gzip"), 4002),
    ] {
        let query = Query::parse(Some(v), Some(encoding), compress).unwrap();
        let rules = Arc::new(Rules::new(&Settings::default(), "node".into()));
        let mut connection = Discord::new(query, "ws://x".into(), rules, Instant::now());
        let steps = connection.open(Instant::now());
        let [Step::Close { close, .. }] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(close.code, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_greeted_with_its_guilds_and_told_of_them_again_when_it_resumes() {
    on(Node::new, async |node| {
        for id in 1..=20_u64 {
            let d = json!({"id": (id << 22).to_string(), "name": format!("guild {id}"), "members": []});
            node.publish("GUILD_CREATE", &d).await;
        }
        let mut client = node.connect().await;
        let shard = json!({"token": TOKEN, "intents": 1, "shard": [1, 2]});
        client.send(&json!({"op": 2, "d": shard})).await;
        let ready = client.seen[1].clone();
        assert_eq!(ready["d"]["guilds"].as_array().unwrap().len(), 10);
        assert_eq!(
            ready["d"]["guilds"][0],
            json!({"id": (1_u64 << 22).to_string(), "unavailable": true})
        );
        client.drained().await;
        assert_eq!(client.dispatches().len(), 11);
        node.publish(
            "CHANNEL_CREATE",
            &json!({"guild_id": (1_u64 << 22).to_string(), "id": "5"}),
        )
        .await;
        client.settle().await;
        assert_eq!(client.dispatches().last(), Some(&(12, "CHANNEL_CREATE".to_owned())));
        let id = ready["d"]["session_id"].as_str().unwrap().to_owned();
        node.publish("GUILD_DELETE", &json!({"id": (3_u64 << 22).to_string()}))
            .await;
        client.cut().await;
        // It has not even seen the second guild: what it is told of them now is newer, under the numbers of then.
        let again = node.resumed(&id, 2).await;
        let seen = again.dispatches();
        let numbers: Vec<_> = seen.iter().map(|(s, _)| *s).collect();
        assert_eq!(numbers, (3..=14).collect::<Vec<_>>());
        assert_eq!(seen[0].1, "GUILD_DELETE");
        assert_eq!(seen.last().unwrap().1, "RESUMED");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn more_guilds_than_a_session_may_have_need_shards() {
    let few = || Node::with(|application| application.guilds_per_session = 2);
    on(few, async |node| {
        for id in 1..=3_u64 {
            node.publish("GUILD_CREATE", &json!({"id": (id << 22).to_string()}))
                .await;
        }
        let mut client = node.connect().await;
        client.send(&identify(1)).await;
        assert_eq!(client.close, Some(4011));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 2, "d": {"token": TOKEN, "intents": 1, "shard": [0, 2]}}))
            .await;
        assert_eq!(client.seen[1]["t"], "READY");
    })
    .await;
}
