//! The node's metrics. Label values come from the code and from the configuration, never from peers.

mod exposition;
mod moment;
mod process;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

pub use self::{exposition::Exposition, moment::Moment, process::ProcessUse};

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

/// The labels of the counter of HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The pattern of the path, from the table of routes.
    pub route: String,
    /// The status of the response.
    pub code: u16,
}

/// The label of a family that is split by application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApplicationLabel {
    /// The application, as configured.
    pub application: Arc<str>,
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
    /// Events accepted from this node's clients, by application.
    pub events_accepted: Family<ApplicationLabel, Counter>,
    /// Responses to HTTP requests, by route and status.
    pub http_responses: Family<HttpLabels, Counter>,
    /// Why sessions ended.
    pub session_endings: Family<ReasonLabel, Counter>,
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
    /// Connections to the backplane that were made.
    pub backplane_connections: Counter,
    /// Times that the backplane became unavailable, or could not be reached.
    pub backplane_problems: Counter,
    /// How long things took.
    pub durations: Durations,
}

/// How long things took, in seconds.
#[derive(Debug)]
pub struct Durations {
    /// From the publication of events to their acceptance by the log.
    pub publish: Histogram,
    /// From an Identify or Resume to the session, for those that succeed.
    pub identify: Histogram,
}

impl Default for Durations {
    fn default() -> Self {
        // 0.1 ms to 6.5 s, each bound twice the one before.
        let histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        Self {
            publish: histogram(),
            identify: histogram(),
        }
    }
}

impl Durations {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "publish_seconds",
            "Seconds from the publication of events to their acceptance by the log",
            self.publish.clone(),
        );
        registry.register(
            "identify_seconds",
            "Seconds from an Identify to the session",
            self.identify.clone(),
        );
    }
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

    /// Begins counting at 0, so that the first increase of a counter is seen as one: the events of these applications, and
    /// the ends of sessions for these reasons.
    pub fn begin<'a>(&self, applications: impl Iterator<Item = &'a str>, endings: &[&'static str]) {
        for application in applications {
            let application = application.into();
            drop(self.events_accepted.get_or_create(&ApplicationLabel { application }));
        }
        for reason in endings {
            drop(self.session_endings.get_or_create(&ReasonLabel { reason }));
        }
    }

    /// Counts events accepted from this node's clients, `took` after they were published.
    pub fn accepted(&self, application: &Arc<str>, events: usize, took: Duration) {
        self.durations.publish.observe(took.as_secs_f64());
        let application = Arc::clone(application);
        let counter = self.events_accepted.get_or_create(&ApplicationLabel { application });
        counter.inc_by(events as u64);
    }

    /// Counts a response to an HTTP request. `route` is the pattern that matched, if any did.
    pub fn http_response(&self, route: Option<String>, code: u16) {
        let route = route.unwrap_or_else(|| "none".to_owned());
        self.http_responses.get_or_create(&HttpLabels { route, code }).inc();
    }

    /// Counts why a session ended.
    pub fn session_ending(&self, reason: &'static str) {
        self.session_endings.get_or_create(&ReasonLabel { reason }).inc();
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
            events_accepted: _,
            http_responses: _,
            session_endings: _,
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
            backplane_connections: _,
            backplane_problems: _,
            durations: _,
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
        self.register_node(&mut registry);
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
        self.durations.register(&mut registry);
        moment.register(&mut registry);
        registry.register(
            "build",
            "The version that runs here",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        let mut process = Registry::with_prefix("process");
        moment.process.register(&mut process);
        encode_registry(&mut text, &process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Metrics {
    /// Registers the counters of what the node accepts, answers and ends, and of its backplane.
    fn register_node(&self, registry: &mut Registry) {
        registry.register(
            "events_accepted",
            "Events accepted from clients of this node, by application",
            self.events_accepted.clone(),
        );
        registry.register(
            "http_responses",
            "Responses to HTTP requests, by route and status",
            self.http_responses.clone(),
        );
        registry.register(
            "session_endings",
            "Sessions ended, by cause",
            self.session_endings.clone(),
        );
        registry.register(
            "backplane_connections",
            "Connections to the backplane that were made",
            self.backplane_connections.clone(),
        );
        registry.register(
            "backplane_problems",
            "Times that the backplane became unavailable, or could not be reached",
            self.backplane_problems.clone(),
        );
    }

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

#[cfg(test)]
mod tests {
    use shared::v1::payload::GuildCount;

    use super::*;

    #[test]
    fn every_counter_is_rendered() {
        let metrics = Metrics::default();
        metrics.dropped("not_json");
        metrics.session_ended(4006);
        metrics.session_ending("no heartbeat");
        metrics.http_response(Some("/api/v1/events".to_owned()), 202);
        metrics.accepted(&"shop".into(), 3, Duration::from_millis(1));
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
            connections_limit: 1000,
            process: ProcessUse {
                cpu_seconds: 1.5,
                resident_bytes: 4096,
                open_descriptors: 12,
                most_descriptors: 1024,
                started: 1_767_323_045.0,
            },
        };
        let text = metrics.render(&moment).unwrap();
        // Samples within a family come in no particular order.
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
