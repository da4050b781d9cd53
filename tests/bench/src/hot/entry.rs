//! An event in the log: appending it, framing it, and matching it against a session.

use std::{hint::black_box, iter::repeat_n, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use gateway_node::{
    backends::{IdSource, MemoryBackplane, MemoryLimits},
    backplane::{
        Audience, Backplane, Entry, Epoch, JobLimits, Joining, Pending, Position, Publication, PublishError,
        Publishing, ReportLimits, WhenUnavailable,
    },
    metrics::Metrics,
    registry::Registry,
    replay::ReplayLimits,
    transport::{binary_frame, text_frame},
};
use shared::{
    client_type::ClientType,
    compression::{Level, deflate},
    guild::GuildId,
    routing::Delivery,
    session_id::SessionId,
    v1::payload,
};

use super::{
    data,
    step::{CALLS, each, step},
};

/// Creates a registry of one shard and a backplane that delivers to it and gives every session the id 1.
pub(super) fn log(metrics: &Arc<Metrics>) -> (Registry, MemoryBackplane) {
    let tail = ReplayLimits {
        entries: 1000,
        age: Duration::from_secs(60),
        bytes: 1 << 20,
    };
    let registry = Registry::new(
        1,
        1 << 20,
        tail,
        Level::default(),
        Duration::from_secs(1),
        Arc::clone(metrics),
    );
    let limits = MemoryLimits {
        waiting_bytes: 1 << 20,
        reports: ReportLimits::default(),
        count_interval: Duration::from_secs(1),
        retention: Duration::from_secs(60),
        idempotency_keys: 1000,
        jobs: JobLimits {
            entries: 1000,
            bytes: 1 << 20,
            retry: Duration::from_secs(1),
            kept: Duration::from_secs(60),
        },
    };
    let ids = IdSource::Fixed(SessionId::from_raw(1));
    let (backplane, _) = MemoryBackplane::new(ids, Epoch::from_raw(1), limits, Arc::new(registry.clone()));
    (registry, backplane)
}

/// Returns an entry right after [`start`].
pub(super) fn entry(audience: Audience) -> Entry {
    Entry {
        position: Position { offset: 1, ..start() },
        application: "development".into(),
        name: "announce".into(),
        audience,
        at: 0,
        accepted: tokio::time::Instant::now(),
        first: None,
        author: None,
        user: None,
        to_tickets: false,
        trace: None,
        discord: None,
        d: data().into(),
    }
}

/// The position at which a session joined.
pub(super) const fn start() -> Position {
    Position {
        offset: 0,
        epoch: Epoch::from_raw(1),
    }
}

pub(super) fn publish_all() -> usize {
    type PublishResult = Pending<Vec<Position>, PublishError>;
    step!((backplane: &dyn Backplane, event: Publishing) -> PublishResult { backplane.publish(event) });
    // No shard reads the registry's feed, so everything published stays in it.
    let (_registry, backplane) = log(&Arc::default());
    let (application, kind): (Arc<str>, _) = ("development".into(), ClientType::Bot);
    let joining = Joining {
        application: Arc::clone(&application),
        kind,
        ticket: None,
        worker: None,
    };
    let joined = backplane
        .join(joining)
        .now_or_never()
        .expect("the memory backplane answers at once");
    backplane.ready(&application, joined.expect("a session id").id);
    let (name, d): (Arc<str>, Arc<str>) = ("announce".into(), data().into());
    let event = || Publishing {
        application: Arc::clone(&application),
        events: vec![Publication {
            name: Arc::clone(&name),
            receivers: kind.into(),
            delivery: Delivery::All,
            author: None,
            require_receiver: false,
            user: None,
            to_tickets: false,
            trace: None,
            request: None,
            job: None,
            discord: None,
            d: Arc::clone(&d),
        }],
        idempotency: None,
        when_unavailable: WhenUnavailable::Hold,
    };
    let calls = each((0..CALLS).map(|_| event()), |event| step(&backplane, event), |_| true);
    assert_eq!(backplane.status().logs[0].top, calls as u64);
    calls
}

pub(super) fn frame_text() -> usize {
    step!((name: &str, d: &str) -> Bytes { text_frame(payload::event(name, d).as_bytes()) });
    let is_right = |frame: &Bytes| frame.starts_with(b"\x81\x7e\0\xc8{\"op\":0,\"t\":\"announce\"");
    each(repeat_n(&*data(), CALLS), |d| step(black_box("announce"), d), is_right)
}

pub(super) fn frame_zlib() -> usize {
    step!((name: &str, d: &str) -> Bytes {
        binary_frame(&deflate(payload::event(name, d).as_bytes(), Level::default()))
    });
    // Creates the thread's compressor, which is not part of the measurement.
    deflate(b"", Level::default());
    let is_right = |frame: &Bytes| frame.starts_with(b"\x82") && frame.len() < 100;
    each(
        repeat_n(&*data(), CALLS / 10),
        |d| step(black_box("announce"), d),
        is_right,
    )
}

pub(super) fn admit_types() -> usize {
    step!((entry: &Entry, id: SessionId, kind: ClientType, since: Position) -> bool { entry.admits(id, kind, since) });
    admit(Audience::Types(ClientType::Bot.into()), step)
}

pub(super) fn admit_sessions() -> usize {
    step!((entry: &Entry, id: SessionId, kind: ClientType, since: Position) -> bool { entry.admits(id, kind, since) });
    admit(
        Audience::Reporters {
            are_watchers_included: true,
            guild: GuildId::from_raw(3),
            sessions: [1, 2].map(SessionId::from_raw).into_iter().collect(),
            of: ClientType::Bot.into(),
        },
        step,
    )
}

pub(super) fn admit_one() -> usize {
    step!((entry: &Entry, id: SessionId, kind: ClientType, since: Position) -> bool { entry.admits(id, kind, since) });
    let (session, of) = (SessionId::from_raw(2), ClientType::Bot.into());
    admit(Audience::One { session, of }, step)
}

/// Matches an entry for `audience` against the bot with id 2, which is to receive all of them.
fn admit(audience: Audience, step: fn(&Entry, SessionId, ClientType, Position) -> bool) -> usize {
    let entry = entry(audience);
    // With constant arguments, the compiler would specialize the step for them.
    let (id, kind, since) = black_box((SessionId::from_raw(2), ClientType::Bot, start()));
    let admits = |entry| step(entry, id, kind, since);
    each(repeat_n(&entry, CALLS), admits, |admitted| *admitted)
}
