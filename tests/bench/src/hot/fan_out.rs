//! The fan-out of an event: from the feed to all sessions of a worker.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use actix::Actor;
use gateway_node::{
    auth::{Key, Keyring},
    backplane::{Audience, Deliver as _, Entry},
    config::{KeySettings, Secret},
    metrics::Metrics,
    registry::{Registration, Registry, RegistryShard, SessionHandle, SessionMessage},
    transport::Outbox,
};
use shared::{client_type::ClientType, session_id::SessionId, v1::Encoding};
use tokio::task::LocalSet;

use super::{
    entry::{entry, log, start},
    step::{each, step},
};

/// As many sessions as a shard serves before it turns to its sockets.
const SESSIONS: u64 = 256;
/// Number of deliveries, each to a new group of sessions at rest.
const ROUNDS: usize = 20;

/// Receives the orders to all sessions, of which there are none.
struct CommandSink;

impl Actor for CommandSink {
    type Context = actix::Context<Self>;
}

impl actix::Handler<SessionMessage> for CommandSink {
    type Result = ();

    fn handle(&mut self, _: SessionMessage, _: &mut Self::Context) {}
}

/// Polls all tasks until none can continue. The clock is not driven, so no timer ever fires.
fn settle(local: &mut LocalSet) {
    let _ = Pin::new(local).poll(&mut Context::from_waker(Waker::noop()));
}

pub(super) fn walk_room() -> usize {
    step!((local: &mut LocalSet, registry: &Registry, entry: Entry) {
        registry.deliver(entry);
        settle(local);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let mut local = LocalSet::new();
    let _inside = (runtime.enter(), local.enter());

    let metrics = Arc::new(Metrics::default());
    let (registry, backplane) = log(&metrics);
    let shard = RegistryShard::start(0, registry.clone(), Arc::new(backplane), Keyring::new(Vec::new()));
    let settings = KeySettings::development(Secret::from("0".repeat(32)));
    let key = Arc::new(Key::new(&settings).expect("a valid key"));
    let sink = CommandSink.start();
    settle(&mut local);

    let register = |id| {
        let handle = shard.open(sink.clone().recipient());
        let registration = Registration {
            id: SessionId::from_raw(id),
            kind: ClientType::Bot,
            key: Arc::clone(&key),
            encoding: Encoding::Text,
            counts: false,
            guilds: Vec::new(),
            has_positions: false,
            ticket: None,
            since: start(),
        };
        handle.identify(registration, Outbox::new(1 << 20));
        handle
    };
    let round = |_| {
        let handles: Vec<SessionHandle> = (0..SESSIONS).map(register).collect();
        let mut entry = entry(Audience::Types(ClientType::Bot.into()));
        entry.application = Arc::clone(key.application());
        step(&mut local, &registry, entry);
        handles
    };
    let calls = each(0..ROUNDS, round, |_| true);
    assert_eq!(metrics.deliveries(), SESSIONS * calls as u64);
    calls
}
