//! The values that are measured at a scrape.

use prometheus_client::{
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use shared::v1::payload::GuildCount;

use super::{
    ApplicationLabel, ProcessUse,
    labels::{KindLabel, ReplayEvictionLabels},
};

/// Values that are measured at the moment of a scrape instead of counted.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Open connections, including plain HTTP.
    pub connections: usize,
    /// The most connections that the node accepts.
    pub connections_limit: usize,
    /// Bytes of request bodies in memory.
    pub body_bytes: usize,
    /// Bytes that wait in outboxes for slow clients.
    pub outbox_bytes: usize,
    /// Bytes in the fullest outbox.
    pub largest_outbox_bytes: usize,
    /// Slow clients closed so far because all outboxes together held too much.
    pub outboxes_condemned: u64,
    /// Bytes of entries between the log and the workers.
    pub delivery_queue_bytes: usize,
    /// Bytes of events that wait for the log to accept them.
    pub held_bytes: usize,
    /// The number of sessions of each kind.
    pub sessions: &'a [(&'static str, usize)],
    /// Whether the node is draining.
    pub is_draining: bool,
    /// Whether the backplane accepts events and sessions.
    pub is_backplane_available: bool,
    /// The log of each application.
    pub logs: &'a [LogMoment<'a>],
    /// What the process uses.
    pub process: ProcessUse,
    /// Lines of the node's own log that were dropped because standard error was not read in time.
    pub log_lines_dropped: u64,
}

/// The log of one application at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub struct LogMoment<'a> {
    /// The application.
    pub application: &'a str,
    /// The number of entries that the node has still to deliver.
    pub lag: u64,
    /// For how long there have been such entries, in seconds.
    pub lag_seconds: f64,
    /// The guild counts that were broadcast last.
    pub counts: GuildCount,
    /// The replay buffer.
    pub replay: ReplayMoment,
}

/// A replay buffer at the moment of a scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayMoment {
    /// The bytes of its entries.
    pub bytes: usize,
    /// Entries dropped so far because there were more than may be kept.
    pub evicted_for_entries: u64,
    /// Entries dropped so far because they had more bytes than may be kept.
    pub evicted_for_bytes: u64,
    /// Entries dropped so far because they were too old.
    pub evicted_for_age: u64,
}

/// A number of a log.
type LogValue = fn(&LogMoment<'_>) -> u64;

impl Moment<'_> {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_connections(registry);
        self.register_logs(registry);
        registry.register(
            "body_bytes",
            "Bytes of request bodies in memory",
            gauge(self.body_bytes),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the node's log that nobody read in time",
            ConstCounter::new(self.log_lines_dropped),
        );
        registry.register(
            "backplane_available",
            "Whether the backplane takes events and sessions",
            ConstGauge::new(i64::from(self.is_backplane_available)),
        );
        registry.register(
            "draining",
            "Whether the node is about to stop",
            ConstGauge::new(i64::from(self.is_draining)),
        );
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Open connections, of plain HTTP too",
            gauge(self.connections),
        );
        registry.register(
            "connections_limit",
            "The most connections that the node accepts",
            gauge(self.connections_limit),
        );
        let live = Family::<KindLabel, Gauge<i64>>::default();
        for &(kind, count) in self.sessions {
            live.get_or_create(&KindLabel { kind })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register("sessions", "Live sessions, by client type", live);
        registry.register(
            "outbox_bytes",
            "Bytes that wait for clients that read slowly",
            gauge(self.outbox_bytes),
        );
        registry.register(
            "largest_outbox_bytes",
            "Bytes that wait for the client for which most bytes wait",
            gauge(self.largest_outbox_bytes),
        );
        registry.register(
            "outboxes_condemned",
            "Slow clients closed because too much waited for all of them together",
            ConstCounter::new(self.outboxes_condemned),
        );
    }

    fn register_logs(&self, registry: &mut Registry) {
        registry.register(
            "hold_bytes",
            "Bytes of events of this node's clients that wait for the log to accept them",
            gauge(self.held_bytes),
        );
        registry.register(
            "delivery_queue_bytes",
            "Bytes of events that wait for the slowest worker",
            gauge(self.delivery_queue_bytes),
        );
        let by_application = |value: LogValue| {
            let family = Family::<ApplicationLabel, Gauge<i64>>::default();
            for log in self.logs {
                let application = log.application.into();
                family
                    .get_or_create(&ApplicationLabel { application })
                    .set(i64::try_from(value(log)).unwrap_or(i64::MAX));
            }
            family
        };
        let gauges: [(_, _, LogValue); 5] = [
            (
                "log_lag",
                "Accepted events that this node has still to deliver",
                |log| log.lag,
            ),
            ("guilds", "Guilds that the bots report", |log| log.counts.guilds),
            ("guild_members", "Members of those guilds", |log| {
                log.counts.guild_members
            }),
            ("cached_guild_members", "Members that the bots have cached", |log| {
                log.counts.cached_guild_members
            }),
            (
                "replay_buffer_bytes",
                "Bytes of the latest events, which are kept for sessions that resume or catch up",
                |log| log.replay.bytes as u64,
            ),
        ];
        for (name, help, value) in gauges {
            registry.register(name, help, by_application(value));
        }
        let lag = Family::<ApplicationLabel, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        let evictions = Family::<ReplayEvictionLabels, Counter>::default();
        for log in self.logs {
            let application: std::sync::Arc<str> = log.application.into();
            let labels = ApplicationLabel {
                application: application.clone(),
            };
            lag.get_or_create(&labels).set(log.lag_seconds);
            for (reason, count) in [
                ("entries", log.replay.evicted_for_entries),
                ("bytes", log.replay.evicted_for_bytes),
                ("age", log.replay.evicted_for_age),
            ] {
                let application = application.clone();
                evictions
                    .get_or_create(&ReplayEvictionLabels { application, reason })
                    .inc_by(count);
            }
        }
        registry.register(
            "log_lag_seconds",
            "For how long there have been accepted events that this node has still to deliver",
            lag,
        );
        registry.register(
            "replay_buffer_evictions",
            "Events dropped from the replay buffer, by the limit that was reached: `cluster.log_entries`, \
             `cluster.log_bytes` or `cluster.log_age_ms`",
            evictions,
        );
    }
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
