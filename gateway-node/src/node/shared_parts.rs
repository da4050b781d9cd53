//! What a node shares with other nodes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use shared::session_id::SessionId;

use super::{
    error::NodeError,
    keys::NodeKeys,
    limits::{job_limits, report_limits, ticket_limits},
    origin::KeyOrigin,
    preflight::redis_tls,
};
use crate::{
    backends::{
        IdSource, MemoryBackplane, MemoryLimits, MemorySessions, MemoryTickets, RedisBackplane, RedisOptions,
        RedisSessions,
    },
    backplane::{Backplane, Epoch, Jobs, Tickets},
    config::{Secret, Settings},
    metrics::Metrics,
    registry::Registry,
    resume::DiscordSessions,
};

/// The backplane's background work, which runs as long as it is polled.
pub(super) type Driving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a node shares with other nodes, or its in-memory equivalent.
pub(super) struct NodeShared {
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) tickets: Arc<dyn Tickets>,
    pub(super) discord: DiscordSessions,
    pub(super) driving: Driving,
}

/// Connects the node to Redis, or builds what stands in for it.
///
/// # Errors
/// If the URL or the certificates of Redis cannot be used.
pub(super) fn shared_parts(
    settings: &Settings,
    name: &Arc<str>,
    origin: KeyOrigin,
    registry: Registry,
    keys: &Arc<NodeKeys>,
    metrics: &Arc<Metrics>,
) -> Result<NodeShared, NodeError> {
    if let Some(url) = &settings.redis.url {
        let options = RedisOptions {
            metrics: Arc::clone(metrics),
            ..redis_options(settings, url, name, origin)
        };
        let (backplane, driving) = RedisBackplane::new(options, Arc::new(registry))?;
        let (tickets, jobs) = (backplane.tickets(), backplane.jobs());
        let (keys, records, revocations) = (Arc::clone(keys), backplane.keys(), tickets.revocations());
        let driving = async move {
            let (records, revocations) = (keys.follow(records), keys.follow_revocations(revocations));
            // Each is polled only when it is woken itself.
            let tasks = [driving.boxed(), records.boxed(), revocations.boxed()];
            let mut tasks: FuturesUnordered<_> = tasks.into_iter().collect();
            while tasks.next().await.is_some() {}
        };
        return Ok(NodeShared {
            tickets: Arc::new(tickets),
            jobs: Arc::new(jobs),
            discord: DiscordSessions::new(RedisSessions::new(&backplane)),
            backplane: Arc::new(backplane),
            driving: Box::pin(driving),
        });
    }
    let ids = if let Some(id) = settings.test.bot_id {
        IdSource::Fixed(SessionId::from_raw(id))
    } else {
        let unix = origin.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        IdSource::from_clock(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))?
    };
    let limits = MemoryLimits {
        reports: report_limits(settings),
        count_interval: Duration::from_millis(settings.v1.guild_count_interval_ms),
        retention: Duration::from_millis(settings.cluster.log_age_ms),
        waiting_bytes: settings.cluster.log_bytes,
        idempotency_keys: settings.limits.idempotency_keys,
        jobs: job_limits(settings),
    };
    let epoch = Epoch::from_raw(u64::from_be_bytes(origin.random));
    let deliver = Arc::new(registry);
    let (backplane, broadcast) = MemoryBackplane::new(ids, epoch, limits, deliver.clone());
    let jobs = Arc::new(backplane.jobs());
    let backplane: Arc<dyn Backplane> = Arc::new(backplane);
    let window = Duration::from_millis(settings.session.resume_window_ms);
    let (sessions, sweeping) = MemorySessions::new(Arc::clone(&backplane), deliver, window);
    let tickets = MemoryTickets::new(ticket_limits(settings));
    let (keys, revocations) = (Arc::clone(keys), tickets.revocations());
    let driving = async move {
        futures_util::future::join3(broadcast, sweeping, keys.follow_revocations(revocations)).await;
    };
    Ok(NodeShared {
        tickets: Arc::new(tickets),
        jobs,
        discord: DiscordSessions::new(sessions),
        backplane,
        driving: Box::pin(driving),
    })
}

/// Builds the options of a Redis backplane.
fn redis_options(settings: &Settings, url: &Secret, name: &Arc<str>, origin: KeyOrigin) -> RedisOptions {
    let cluster = &settings.cluster;
    RedisOptions {
        url: url.expose().to_owned().into(),
        tls: redis_tls(settings),
        prefix: settings.redis.prefix.clone(),
        node: Arc::clone(name),
        incarnation: u64::from_be_bytes(origin.random),
        applications: settings
            .applications
            .iter()
            .map(|application| application.id.as_str().into())
            .collect(),
        lease: Duration::from_millis(cluster.lease_ms),
        log_entries: cluster.log_entries,
        log_age: Duration::from_millis(cluster.log_age_ms),
        log_bytes: cluster.log_bytes,
        idempotency_keys: settings.limits.idempotency_keys,
        hold_bytes: cluster.hold_bytes,
        hold: Duration::from_millis(cluster.hold_ms),
        count_interval: Duration::from_millis(settings.v1.guild_count_interval_ms),
        reports: report_limits(settings),
        resume_window: Duration::from_millis(settings.session.resume_window_ms),
        heartbeat: Duration::from_millis(settings.discord.heartbeat_interval_ms),
        fixed_id: settings.test.bot_id.map(SessionId::from_raw),
        tickets: ticket_limits(settings),
        jobs: job_limits(settings),
        metrics: Arc::default(),
    }
}
