//! The options of a Redis backplane.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use shared::session_id::SessionId;

use super::tls::RedisTls;
use crate::{
    backplane::{JobLimits, ReportLimits, TicketLimits},
    metrics::Metrics,
};

/// The address of the server, the name of this node, and the limits.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user and password if the server requires them.
    pub url: SecretString,
    /// The files for TLS.
    pub tls: RedisTls,
    /// The prefix of every key and channel.
    pub prefix: String,
    /// The name of this node.
    pub node: Arc<str>,
    /// A random number that identifies this run of the node.
    pub incarnation: u64,
    /// The names of the applications.
    pub applications: Vec<Arc<str>>,
    /// How long the node's lease lasts without renewal.
    pub lease: Duration,
    /// The maximum number of entries in a log.
    pub log_entries: usize,
    /// The maximum age of entries in a log.
    pub log_age: Duration,
    /// The maximum bytes of a log.
    pub log_bytes: usize,
    /// The maximum number of idempotency keys remembered for an application.
    pub idempotency_keys: usize,
    /// The maximum bytes of events that wait for the log, or for the workers.
    pub hold_bytes: usize,
    /// How long an event waits for the log.
    pub hold: Duration,
    /// The minimum time between two broadcasts of an application's counts.
    pub count_interval: Duration,
    /// How fast the sessions of a key may change what they report.
    pub reports: ReportLimits,
    /// The bounds of an application's jobs.
    pub jobs: JobLimits,
    /// The limits on tickets.
    pub tickets: TicketLimits,
    /// How long a Discord session can be resumed after it disconnects.
    pub resume_window: Duration,
    /// The heartbeat interval of Discord clients.
    pub heartbeat: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The id that every session gets, for the test that observes an id collision on the wire.
    pub fixed_id: Option<SessionId>,
}

impl RedisOptions {
    /// How long a Discord session is stored after its owner last reported that it is connected: the time that the
    /// client may be silent, plus the resume window.
    pub(super) fn presence(&self) -> Duration {
        self.resume_window + 2 * self.heartbeat
    }
}
