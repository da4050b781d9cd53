//! What a Redis backplane is made with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;
use shared::session_id::SessionId;

use crate::backplane::ReportLimits;

/// Where the server is, what this node is called there, and its bounds.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user and password where the server wants them.
    pub url: SecretString,
    /// PEM file of the authority that the server's certificate is held against, instead of the system's.
    pub authority: Option<PathBuf>,
    /// What every key and channel starts with.
    pub prefix: String,
    /// The name of this node.
    pub node: Arc<str>,
    /// What tells this life of the node from every other: random.
    pub incarnation: u64,
    /// The applications that there are.
    pub applications: Vec<Arc<str>>,
    /// How long the node's lease lasts without renewal.
    pub lease: Duration,
    /// Entries that a log keeps.
    pub log_entries: usize,
    /// How long a log keeps an entry.
    pub log_age: Duration,
    /// Bytes that a log keeps.
    pub log_bytes: usize,
    /// The most idempotency keys of an application that are remembered at once.
    pub idempotency_keys: usize,
    /// Bytes of events that wait for the log, or for the workers, at most.
    pub hold_bytes: usize,
    /// How long an event waits for the log.
    pub hold: Duration,
    /// The least time between two broadcasts of an application's counts.
    pub count_interval: Duration,
    /// How fast the sessions of a key may change what they report.
    pub reports: ReportLimits,
    /// How long a Discord session can be resumed after its connection.
    pub resume_window: Duration,
    /// How often the client of one says that it is there.
    pub heartbeat: Duration,
    /// The id that every session gets, for the test that reads a collision off the wire.
    pub fixed_id: Option<SessionId>,
}

impl RedisOptions {
    /// How long a Discord session is kept after its owner has said last that it is there: as long as the client may be
    /// silent, and then resume.
    pub(super) fn presence(&self) -> Duration {
        self.resume_window + 2 * self.heartbeat
    }
}
