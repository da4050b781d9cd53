//! The limits of a node's parts, as its settings say.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::descriptors::Descriptors;
use crate::{
    accept::{HEAD_TIMEOUT, HttpLimits},
    admission::AdmissionLimits,
    backplane::{JobLimits, ReportLimits, TicketLimits},
    config::Settings,
    replay::ReplayLimits,
    transport::{Limits, OutboxPool},
};

/// How long an HTTP connection is still read after a request was answered before its body arrived.
const LINGER: Duration = Duration::from_secs(1);

/// Returns the limits of connections.
pub(super) fn admission_limits(settings: &Settings, descriptors: &Descriptors) -> AdmissionLimits {
    AdmissionLimits {
        connections: descriptors.room(settings.limits.connections),
        per_address: settings.limits.connections_per_address,
        keyless_per_address: descriptors.half(),
        attempts_per_minute: settings.limits.connection_attempts_per_minute,
    }
}

/// Returns the limits of HTTP connections.
pub(super) fn http_limits(settings: &Settings) -> HttpLimits {
    HttpLimits {
        head: HEAD_TIMEOUT,
        request: Duration::from_millis(settings.http.request_timeout_ms),
        keep_alive: Duration::from_millis(settings.http.keep_alive_ms),
        linger: LINGER,
    }
}

/// Returns what the replay buffers keep.
pub(super) fn replay_limits(settings: &Settings) -> ReplayLimits {
    ReplayLimits {
        entries: settings.cluster.log_entries,
        age: Duration::from_millis(settings.cluster.log_age_ms),
        bytes: settings.cluster.log_bytes,
    }
}

/// Returns how fast sessions may change their guilds.
pub(super) fn report_limits(settings: &Settings) -> ReportLimits {
    ReportLimits {
        ids_per_second: settings.limits.report_ids_per_second,
        ids_burst: settings.limits.report_ids_burst,
    }
}

/// Returns the limits of each WebSocket.
pub(super) fn transport_limits(settings: &Settings, outboxes: OutboxPool) -> Limits {
    Limits {
        outboxes,
        message_bytes: settings.limits.message_bytes,
        outbox_bytes: settings.limits.outbox_bytes,
        outbox_age: Duration::from_millis(settings.limits.outbox_age_ms),
        frames_per_minute: Some(settings.limits.frames_per_minute),
        linger: Duration::from_millis(settings.limits.evict_linger_ms),
        // Every worker puts its own counters here.
        worker: Arc::default(),
        began: Instant::now(),
    }
}

/// Returns the limits of jobs.
pub(super) fn job_limits(settings: &Settings) -> JobLimits {
    let settings = &settings.jobs;
    JobLimits {
        entries: settings.entries,
        bytes: settings.bytes,
        retry: Duration::from_millis(settings.retry_ms),
        kept: Duration::from_millis(settings.kept_ms),
    }
}

/// Returns the limits of tickets.
pub(super) fn ticket_limits(settings: &Settings) -> TicketLimits {
    let settings = &settings.tickets;
    TicketLimits {
        unused: settings.unused,
        revocations_kept: Duration::from_millis(settings.max_ttl_ms.saturating_add(settings.max_session_ms)),
    }
}
