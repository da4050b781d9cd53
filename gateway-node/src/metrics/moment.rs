//! The values that are measured at a scrape.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use shared::v1::payload::GuildCount;

use super::{ApplicationLabel, ProcessUse};

/// Values that are measured at the moment of a scrape instead of counted.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Open connections, including plain HTTP.
    pub connections: usize,
    /// Bytes of request bodies in memory.
    pub body_bytes: usize,
    /// Bytes that wait in outboxes for slow clients.
    pub outbox_bytes: usize,
    /// Slow clients closed so far because all outboxes together held too much.
    pub outboxes_condemned: u64,
    /// The number of sessions of each kind.
    pub sessions: &'a [(&'static str, usize)],
    /// Whether the node is draining.
    pub is_draining: bool,
    /// Whether the backplane accepts events and sessions.
    pub is_backplane_available: bool,
    /// The number of log entries that the node has still to deliver, by application.
    pub log_lags: &'a [(&'a str, u64)],
    /// The guild counts that were broadcast last, by application.
    pub guild_counts: &'a [(&'a str, GuildCount)],
    /// The most connections that the node accepts.
    pub connections_limit: usize,
    /// What the process uses.
    pub process: ProcessUse,
    /// Lines of the node's own log that were dropped because standard error was not read in time.
    pub log_lines_dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl Moment<'_> {
    pub(super) fn register(&self, registry: &mut Registry) {
        let live = Family::<KindLabel, Gauge<i64>>::default();
        for &(kind, count) in self.sessions {
            live.get_or_create(&KindLabel { kind })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
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
        registry.register(
            "body_bytes",
            "Bytes of request bodies in memory",
            gauge(self.body_bytes),
        );
        registry.register(
            "outbox_bytes",
            "Bytes that wait for clients that read slowly",
            gauge(self.outbox_bytes),
        );
        registry.register(
            "outboxes_condemned",
            "Slow clients closed because too much waited for all of them together",
            ConstCounter::new(self.outboxes_condemned),
        );
        registry.register("sessions", "Live sessions, by client type", live);
        let lags = Family::<ApplicationLabel, Gauge<i64>>::default();
        for &(application, lag) in self.log_lags {
            let application = application.into();
            lags.get_or_create(&ApplicationLabel { application })
                .set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        let by_application = |count: fn(&GuildCount) -> u64| {
            let family = Family::<ApplicationLabel, Gauge<i64>>::default();
            for (application, counts) in self.guild_counts {
                let application = (*application).into();
                family
                    .get_or_create(&ApplicationLabel { application })
                    .set(i64::try_from(count(counts)).unwrap_or(i64::MAX));
            }
            family
        };
        registry.register("guilds", "Guilds that the bots report", by_application(|of| of.guilds));
        registry.register(
            "guild_members",
            "Members of those guilds",
            by_application(|of| of.guild_members),
        );
        registry.register(
            "cached_guild_members",
            "Members that the bots have cached",
            by_application(|of| of.cached_guild_members),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the node's log that nobody read in time",
            ConstCounter::new(self.log_lines_dropped),
        );
        registry.register("log_lag", "Accepted events that this node has still to deliver", lags);
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
}
