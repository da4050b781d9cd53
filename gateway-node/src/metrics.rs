//! The node's metrics. Label values come from the code, never from peers.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use shared::v1::payload::GuildCount;

/// The label of a counter that is split by reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The reason, a literal in the code.
    pub reason: &'static str,
}

/// The label of the counter of ended sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndingLabel {
    /// The close code that the gateway sent, or 0 if the client left first.
    pub code: u16,
}

/// The label of the counter of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// The outcome, a literal in the code.
    pub outcome: &'static str,
}

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
    /// Lines of the node's own log that were dropped because standard error was not read in time.
    pub log_lines_dropped: u64,
}

/// Every counter of the node, shared by its threads.
#[derive(Debug, Default)]
pub struct Metrics {
    /// WebSockets opened.
    pub sessions_opened: Counter,
    /// Sessions ended, by close code.
    pub sessions_ended: Family<EndingLabel, Counter>,
    /// Connections refused when they were accepted, by reason.
    pub connections_refused: Family<ReasonLabel, Counter>,
    /// Requests for a WebSocket refused, by reason.
    pub upgrades_refused: Family<ReasonLabel, Counter>,
    /// Errors of clients, by kind.
    pub client_errors: Family<ReasonLabel, Counter>,
    /// Valid payloads received from clients.
    pub payloads_received: Counter,
    /// Packets from clients that were dropped without a response, by reason.
    pub packets_dropped: Family<ReasonLabel, Counter>,
    /// Entries accepted by the log.
    pub entries: Counter,
    /// Entries without any receiver.
    pub entries_without_receiver: Counter,
    /// Entries that the log had accepted and then lost.
    pub entries_lost: Counter,
    /// Events refused, by reason.
    pub events_refused: Family<ReasonLabel, Counter>,
    /// Requests of this node's clients that are over, by outcome.
    pub requests: Family<OutcomeLabel, Counter>,
    /// Requests of this node's clients that wait for a reply.
    pub requests_in_flight: Gauge,
    /// Replies of this node's clients that could not be sent to the requester's node in time.
    pub replies_dropped: Counter,
    /// Jobs that workers of this node have acknowledged.
    pub jobs_acknowledged: Counter,
    /// Jobs that workers of this node have given back.
    pub jobs_given_back: Counter,
    /// Jobs whose attempts were used up, counted on one node each.
    pub jobs_undeliverable: Counter,
    /// Tickets issued.
    pub tickets_issued: Counter,
    /// Tickets that opened or renewed a session.
    pub tickets_used: Counter,
    /// Tickets that were refused.
    pub tickets_refused: Counter,
    /// Sessions that caught up on everything that they had missed.
    pub sessions_caught_up: Counter,
    /// Sessions that had missed events which the log no longer had.
    pub sessions_with_lost_events: Counter,
    /// Entries put into an outbox.
    pub deliveries: Counter,
    /// Text frames encoded for entries, at most one per entry, and one with its position.
    pub encoded_text: Counter,
    /// Compressed frames encoded for entries, at most one per entry, and one with its position.
    pub encoded_zlib: Counter,
    /// Encodings of entries that Discord sessions share, at most one per entry, wire format and content.
    pub encoded_discord: Counter,
}

impl Metrics {
    /// Counts a packet that was dropped.
    pub fn dropped(&self, reason: &'static str) {
        self.packets_dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a connection that was refused when it was accepted.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a refused upgrade.
    pub fn upgrade_refused(&self, reason: &'static str) {
        self.upgrades_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an error of a client.
    pub fn client_error(&self, reason: &'static str) {
        self.client_errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a refused event.
    pub fn event_refused(&self, reason: &'static str) {
        self.events_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a request that is over.
    pub fn request_over(&self, outcome: &'static str) {
        self.requests.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts the end of a session.
    pub fn session_ended(&self, code: u16) {
        self.sessions_ended.get_or_create(&EndingLabel { code }).inc();
    }

    /// Renders all metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn render(&self, moment: &Moment<'_>) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("utilbot");
        let Self {
            sessions_opened,
            sessions_ended,
            connections_refused,
            upgrades_refused,
            client_errors,
            payloads_received,
            packets_dropped,
            entries,
            entries_without_receiver,
            entries_lost,
            events_refused,
            requests: _,
            requests_in_flight: _,
            replies_dropped: _,
            jobs_acknowledged: _,
            jobs_given_back: _,
            jobs_undeliverable: _,
            tickets_issued: _,
            tickets_used: _,
            tickets_refused: _,
            sessions_caught_up: _,
            sessions_with_lost_events: _,
            deliveries,
            encoded_text,
            encoded_zlib,
            encoded_discord,
        } = self;
        registry.register("sessions_opened", "WebSockets opened", sessions_opened.clone());
        registry.register(
            "sessions_ended",
            "Sessions ended, by close code",
            sessions_ended.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections refused when they were accepted, by reason",
            connections_refused.clone(),
        );
        registry.register(
            "upgrades_refused",
            "WebSockets refused, by reason",
            upgrades_refused.clone(),
        );
        registry.register("client_errors", "Errors of clients, by reason", client_errors.clone());
        registry.register("payloads_received", "Payloads of clients", payloads_received.clone());
        registry.register(
            "packets_dropped",
            "Packets dropped silently, by reason",
            packets_dropped.clone(),
        );
        registry.register("entries", "Events that the log accepted", entries.clone());
        registry.register(
            "entries_without_receiver",
            "Accepted events that nobody received",
            entries_without_receiver.clone(),
        );
        registry.register(
            "entries_lost",
            "Accepted events that the log has lost",
            entries_lost.clone(),
        );
        registry.register("events_refused", "Events refused, by reason", events_refused.clone());
        self.register_connector(&mut registry);
        registry.register("deliveries", "Events put into an outbox", deliveries.clone());
        registry.register("encoded_text", "Text frames made for events", encoded_text.clone());
        registry.register(
            "encoded_zlib",
            "Compressed frames made for events",
            encoded_zlib.clone(),
        );
        registry.register(
            "encoded_discord",
            "Bytes made for events of Discord sessions",
            encoded_discord.clone(),
        );
        moment.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Metrics {
    /// Registers the counters of requests, tickets and catching up.
    fn register_connector(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests of this node's clients that are over, by outcome",
            self.requests.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests of this node's clients that wait for a reply",
            self.requests_in_flight.clone(),
        );
        registry.register(
            "replies_dropped",
            "Replies that could not be sent to the requester's node in time",
            self.replies_dropped.clone(),
        );
        registry.register(
            "jobs_acknowledged",
            "Jobs that workers of this node have acknowledged",
            self.jobs_acknowledged.clone(),
        );
        registry.register(
            "jobs_given_back",
            "Jobs that workers of this node have given back",
            self.jobs_given_back.clone(),
        );
        registry.register(
            "jobs_undeliverable",
            "Jobs whose attempts are used up",
            self.jobs_undeliverable.clone(),
        );
        registry.register("tickets_issued", "Tickets issued", self.tickets_issued.clone());
        registry.register(
            "tickets_used",
            "Tickets that opened or renewed a session",
            self.tickets_used.clone(),
        );
        registry.register(
            "tickets_refused",
            "Tickets that were refused",
            self.tickets_refused.clone(),
        );
        registry.register(
            "sessions_caught_up",
            "Sessions that caught up on everything that they had missed",
            self.sessions_caught_up.clone(),
        );
        registry.register(
            "sessions_with_lost_events",
            "Sessions that had missed events which the log no longer had",
            self.sessions_with_lost_events.clone(),
        );
    }
}

impl Moment<'_> {
    fn register(&self, registry: &mut Registry) {
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
            let application = application.to_owned();
            lags.get_or_create(&ApplicationLabel { application })
                .set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        let by_application = |count: fn(&GuildCount) -> u64| {
            let family = Family::<ApplicationLabel, Gauge<i64>>::default();
            for (application, counts) in self.guild_counts {
                let application = (*application).to_owned();
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApplicationLabel {
    application: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_rendered() {
        let metrics = Metrics::default();
        metrics.dropped("not_json");
        metrics.session_ended(4006);
        metrics.connection_refused("full");
        metrics.upgrade_refused("draining");
        metrics.event_refused("schema");
        metrics.request_over("reply");
        metrics.client_error("malformed request");
        let moment = Moment {
            connections: 5,
            body_bytes: 1024,
            outbox_bytes: 2048,
            outboxes_condemned: 7,
            sessions: &[("bot", 3), ("none", 1)],
            is_draining: true,
            is_backplane_available: true,
            log_lags: &[("shop", 2), ("utilbot", 0)],
            guild_counts: &[(
                "shop",
                GuildCount {
                    guilds: 1000,
                    guild_members: 55_555,
                    cached_guild_members: 32_000,
                },
            )],
            log_lines_dropped: 7,
        };
        let text = metrics.render(&moment).unwrap();
        // Samples within a family come in no particular order.
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
