//! The names and the descriptions of all families, in the order in which docs/metrics.md lists them.

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, info::Info},
    registry::Registry,
};

use super::{
    DirectionLabel, Durations, Metrics, Moment, ReasonLabel, RedisMetrics, WorkerCounter, WorkerHistogram,
    WorkerMetrics, worker::HistogramSum,
};

impl Metrics {
    /// Renders all metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn render(&self, moment: &Moment<'_>) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("utilbot");
        self.register_events(&mut registry);
        self.register_deliveries(&mut registry);
        self.register_sessions(&mut registry);
        self.register_refusals(&mut registry);
        self.register_websockets(&mut registry);
        self.register_connector(&mut registry);
        self.durations.register(&mut registry);
        moment.register(&mut registry);
        self.register_node(&mut registry);
        self.redis.register(&mut registry);
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        let mut process = Registry::with_prefix("process");
        moment.process.register(&mut process);
        encode_registry(&mut text, &process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// Registers the counters of events between their publication and the outboxes.
    fn register_events(&self, registry: &mut Registry) {
        registry.register(
            "events_accepted",
            "Events accepted from clients of this node, by application. A repetition with the same idempotency key does \
             not count, so the sum over the nodes is the number of events",
            self.events_accepted.clone(),
        );
        registry.register(
            "events_refused",
            "Events refused, by reason",
            self.events_refused.clone(),
        );
        registry.register(
            "entries",
            "Events that this node has taken from the log. An event counts on every node that has receivers for it, so the \
             sum over the nodes means nothing",
            self.entries.clone(),
        );
        registry.register(
            "entries_without_receiver",
            "Accepted events that nobody received",
            self.entries_without_receiver.clone(),
        );
        registry.register(
            "entries_lost",
            "Accepted events that the log has lost",
            self.entries_lost.clone(),
        );
        registry.register("encoded_text", "Text frames made for events", self.encoded_text.clone());
        registry.register(
            "encoded_zlib",
            "Compressed frames made for events",
            self.encoded_zlib.clone(),
        );
        registry.register(
            "encoded_discord",
            "Encodings of events made for Discord sessions",
            self.encoded_discord.clone(),
        );
    }

    /// Registers what is counted for every delivery.
    fn register_deliveries(&self, registry: &mut Registry) {
        let deliveries = Counter::<u64>::default();
        deliveries.inc_by(self.deliveries());
        registry.register("deliveries", "Events put into an outbox", deliveries);
        let counter = |count: fn(&WorkerMetrics) -> &WorkerCounter| {
            let counter = Counter::<u64>::default();
            counter.inc_by(self.sum(count));
            counter
        };
        registry.register(
            "delivery_passes",
            "Passes in which a worker has delivered an event, or several that had waited together",
            counter(|worker| &worker.passes),
        );
        registry.register(
            "join_windows",
            "Waits of up to 2 ms of a worker after a long pass, so that more events are delivered together",
            counter(|worker| &worker.join_windows),
        );
        registry.register(
            "delivery_seconds",
            "Seconds from the acceptance of an event until it was in the outboxes of a worker, at the node that accepted \
             it; at other nodes from its arrival. One observation for each event and each worker that had receivers",
            self.histogram(|worker| &worker.delivery),
        );
        registry.register(
            "outbox_wait_seconds",
            "Seconds that the first byte of a write has waited in its outbox, one observation for each write. What the \
             socket takes at once has waited 0 seconds",
            self.histogram(|worker| &worker.write),
        );
        let evictions = Family::<ReasonLabel, Counter>::default();
        for (reason, count) in [
            ("bytes", self.sum(|worker| &worker.evicted_for_bytes)),
            ("age", self.sum(|worker| &worker.evicted_for_age)),
            ("total_bytes", self.sum(|worker| &worker.evicted_for_total)),
        ] {
            evictions.get_or_create(&ReasonLabel { reason }).inc_by(count);
        }
        registry.register(
            "outbox_evictions",
            "Slow clients closed, by the limit that was reached: `limits.outbox_bytes`, `limits.outbox_age_ms` or \
             `limits.outbox_total_bytes`",
            evictions,
        );
    }

    /// Registers the counters of sessions.
    fn register_sessions(&self, registry: &mut Registry) {
        registry.register("sessions_opened", "WebSockets opened", self.sessions_opened.clone());
        registry.register(
            "sessions_ended",
            "Sessions ended, by the gateway's close code, or 0 if the client left first",
            self.sessions_ended.clone(),
        );
        registry.register(
            "session_endings",
            "Sessions ended, by the `reason` of the log line `session ended`",
            self.session_endings.clone(),
        );
        registry.register(
            "resumes",
            "Resumes of Discord sessions that are over, by result: the client has everything that it missed (`resumed`), \
             the log no longer had all of it (`incomplete`), there was no such session (`gone`), the client was refused for \
             its token or its payload (`refused`), or Redis was away (`unavailable`)",
            self.resumes.clone(),
        );
        registry.register(
            "sessions_caught_up",
            "Sessions of version 1 that named a position and got everything since",
            self.sessions_caught_up.clone(),
        );
        registry.register(
            "sessions_with_lost_events",
            "Sessions of version 1 that had missed events which the log no longer had",
            self.sessions_with_lost_events.clone(),
        );
    }

    /// Registers the counters of what clients did wrong.
    fn register_refusals(&self, registry: &mut Registry) {
        registry.register(
            "connections_refused",
            "Connections refused when they were accepted, by reason",
            self.connections_refused.clone(),
        );
        registry.register(
            "upgrades_refused",
            "WebSockets refused, by reason",
            self.upgrades_refused.clone(),
        );
        registry.register(
            "client_errors",
            "Errors of clients, by reason",
            self.client_errors.clone(),
        );
        registry.register(
            "packets_dropped",
            "Packets dropped silently, by reason",
            self.packets_dropped.clone(),
        );
    }

    /// Registers what is counted for WebSockets.
    fn register_websockets(&self, registry: &mut Registry) {
        registry.register(
            "payloads_received",
            "Payloads of clients",
            self.payloads_received.clone(),
        );
        let by_direction = |count_in: fn(&WorkerMetrics) -> u64, count_out: fn(&WorkerMetrics) -> u64| {
            let family = Family::<DirectionLabel, Counter>::default();
            let workers = self.workers.lock();
            for (direction, count) in [("in", count_in), ("out", count_out)] {
                let sum = workers.iter().map(|worker| count(worker)).sum();
                family.get_or_create(&DirectionLabel { direction }).inc_by(sum);
            }
            family
        };
        registry.register(
            "websocket_bytes",
            "Bytes of frames from clients and to clients, before TLS and TCP. The handshake does not count",
            by_direction(|worker| worker.bytes_in.get(), |worker| worker.bytes_out.get()),
        );
        registry.register(
            "websocket_frames",
            "Frames from clients and to clients, with control frames",
            by_direction(|worker| worker.frames_in.get(), |worker| worker.frames_out.get()),
        );
        registry.register(
            "heartbeat_seconds",
            "Seconds from the arrival of a heartbeat until its answer was written",
            self.histogram(|worker| &worker.heartbeat),
        );
    }

    /// Registers the counters of requests, jobs and tickets.
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
            "Jobs whose attempts are used up, each on one node",
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
    }

    /// Registers what is counted about the node and its backplane.
    fn register_node(&self, registry: &mut Registry) {
        registry.register(
            "http_responses",
            "Responses to HTTP requests, by route and status",
            self.http_responses.clone(),
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
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate expires, in seconds since the Unix epoch: that of the listener (`server`), and the one that \
             the node shows to Redis (`redis`). The one of a chain that expires first",
            self.certificates.clone(),
        );
        registry.register(
            "build",
            "The version that runs here",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
    }

    fn histogram(&self, histogram: impl Fn(&WorkerMetrics) -> &WorkerHistogram) -> HistogramSum {
        HistogramSum::of(self.workers.lock().iter().map(|worker| histogram(worker)))
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
        registry.register(
            "resume_seconds",
            "Seconds from a Resume until the session belongs to the connection, without the replay",
            self.resume.clone(),
        );
    }
}

impl RedisMetrics {
    /// Registers what is counted about Redis. A node without Redis has begun no label, so these families are left out.
    fn register(&self, registry: &mut Registry) {
        if !self.is_begun() {
            return;
        }
        registry.register(
            "redis_script_seconds",
            "Seconds from sending a call of a script to Redis until its answer, by script",
            self.scripts.clone(),
        );
        registry.register(
            "redis_errors",
            "Errors that ended a connection to Redis or kept one from being made, by kind",
            self.errors.clone(),
        );
        registry.register(
            "log_repairs",
            "Times that events were read from the log because their messages had not come",
            self.repairs.clone(),
        );
        registry.register(
            "log_repaired_entries",
            "Events that were read from the log then",
            self.repaired_entries.clone(),
        );
    }
}
