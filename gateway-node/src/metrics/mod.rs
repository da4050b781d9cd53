//! The node's metrics. Label values come from the code and from the configuration, never from peers.
//!
//! What is counted for every delivery, read or write is counted per worker ([`WorkerMetrics`]). Everything else is shared
//! by the threads. `registration` gives each family its name and its description, from which docs/metrics.md is made.

mod exposition;
mod known_labels;
mod labels;
mod moment;
#[cfg(test)]
mod page_tests;
mod process;
mod redis;
mod registration;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

pub use self::{
    exposition::Exposition,
    known_labels::KnownLabels,
    labels::{
        ApplicationLabel, CertificateLabel, DirectionLabel, EndingLabel, HttpLabels, OutcomeLabel, ReasonLabel,
        ReplayEvictionLabels, ResultLabel, ScriptLabel,
    },
    moment::{LogMoment, Moment, ReplayMoment},
    process::ProcessUse,
    redis::RedisMetrics,
    worker::{WorkerCounter, WorkerHistogram, WorkerMetrics},
};

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
    /// Resumes of Discord sessions that are over, by result.
    pub resumes: Family<ResultLabel, Counter>,
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
    /// When the certificates expire, in seconds since the Unix epoch.
    pub certificates: Family<CertificateLabel, Gauge<i64>>,
    /// How long things took.
    pub durations: Durations,
    /// The metrics of the Redis backplane. Rendered only if their labels were begun.
    pub redis: RedisMetrics,
    /// Whether the known labels were begun.
    is_begun: AtomicBool,
    /// The counters of each worker.
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

/// How long things took, in seconds.
#[derive(Debug)]
pub struct Durations {
    /// From the publication of events to their acceptance by the log.
    pub publish: Histogram,
    /// From an Identify to the session, for those that succeed.
    pub identify: Histogram,
    /// From a Resume until the session belongs to the connection, for those that succeed.
    pub resume: Histogram,
}

impl Default for Durations {
    fn default() -> Self {
        // 0.1 ms to 6.5 s, each bound twice the one before.
        let histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        Self {
            publish: histogram(),
            identify: histogram(),
            resume: histogram(),
        }
    }
}

impl Metrics {
    /// Returns the counters of one more worker. Only its thread may count with them.
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::<WorkerMetrics>::default();
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    /// Returns how many entries all workers have put into outboxes.
    pub fn deliveries(&self) -> u64 {
        self.sum(|worker| &worker.deliveries)
    }

    /// Adds up a counter of all workers.
    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &WorkerCounter) -> u64 {
        self.workers.lock().iter().map(|worker| counter(worker).get()).sum()
    }

    /// Counts one. A value that was not begun would hide its first increase, so a debug build rejects it.
    fn count<L: Clone + Debug + Hash + Eq>(&self, family: &Family<L, Counter>, label: &L) {
        debug_assert!(
            !self.is_begun.load(Relaxed) || family.get(label).is_some(),
            "{label:?} is missing in the known labels"
        );
        family.get_or_create(label).inc();
    }

    /// Counts a packet that was dropped.
    pub fn dropped(&self, reason: &'static str) {
        self.count(&self.packets_dropped, &ReasonLabel { reason });
    }

    /// Counts a connection that was refused when it was accepted.
    pub fn connection_refused(&self, reason: &'static str) {
        self.count(&self.connections_refused, &ReasonLabel { reason });
    }

    /// Counts a refused upgrade.
    pub fn upgrade_refused(&self, reason: &'static str) {
        self.count(&self.upgrades_refused, &ReasonLabel { reason });
    }

    /// Counts an error of a client.
    pub fn client_error(&self, reason: &'static str) {
        self.count(&self.client_errors, &ReasonLabel { reason });
    }

    /// Counts a refused event.
    pub fn event_refused(&self, reason: &'static str) {
        self.count(&self.events_refused, &ReasonLabel { reason });
    }

    /// Counts a request that is over.
    pub fn request_over(&self, outcome: &'static str) {
        self.count(&self.requests, &OutcomeLabel { outcome });
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
        self.count(&self.session_endings, &ReasonLabel { reason });
    }

    /// Counts the end of a session.
    pub fn session_ended(&self, code: u16) {
        self.sessions_ended.get_or_create(&EndingLabel { code }).inc();
    }

    /// Counts a resume that is over.
    pub fn resume_over(&self, result: &'static str) {
        self.count(&self.resumes, &ResultLabel { result });
    }

    /// Records when the certificate named `certificate` expires.
    pub fn certificate_expires(&self, certificate: &'static str, expiry: SystemTime) {
        let since = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.certificates
            .get_or_create(&CertificateLabel { certificate })
            .set(seconds);
    }
}
