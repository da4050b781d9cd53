//! Settings that all v1 connections share.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use shared::{
    compression::Level,
    token_bucket::TokenBucket,
    v1::{Encoding, payload},
};
use tokio::time::Instant;

use super::frame::frame;
use crate::{
    config::Settings,
    events::{Events, EventsReader},
};

/// The settings of v1, and frames that are the same for every connection. Each worker has its own copy.
#[derive(Clone)]
pub struct V1SessionSettings {
    pub(super) events: EventsReader,
    pub(super) node: Arc<str>,
    pub(super) identify_timeout: Duration,
    pub(super) payloads_per_minute: u32,
    /// The bytes that a connection may send before identify: the burst, and the refill per second.
    unidentified_bytes: u32,
    unidentified_bytes_per_second: u32,
    pub(super) message_bytes: usize,
    pub(super) event_bytes: usize,
    /// How long a session waits until its report is applied.
    pub(super) report_patience: Duration,
    /// The most requests that a session has in flight.
    pub(super) requests_in_flight: usize,
    /// The most guilds that a session reports or watches.
    pub(super) max_guilds: usize,
    /// The zlib compression level.
    pub(super) level: Level,
    /// The time origin of the rate limits.
    pub(super) origin: Instant,
    heartbeat_interval: Duration,
    heartbeat_tolerance: Duration,
    /// How long before the end of a ticket's session its client is warned.
    pub(super) session_expiring: Duration,
    /// How long nothing is sent before a ping. `None` if no pings are sent.
    pub(super) ping_interval: Option<Duration>,
    hello: Frames,
    heartbeat_ack: Frames,
}

#[derive(Clone)]
struct Frames {
    text: Bytes,
    zlib: Bytes,
}

impl Frames {
    fn of(level: Level, payload: &str) -> Self {
        Self {
            text: frame(Encoding::Text, level, payload),
            zlib: frame(Encoding::Zlib, level, payload),
        }
    }

    fn get(&self, encoding: Encoding) -> Bytes {
        match encoding {
            Encoding::Text => self.text.clone(),
            Encoding::Zlib => self.zlib.clone(),
        }
    }
}

impl V1SessionSettings {
    /// Creates the settings of the node named `node`.
    pub fn new(settings: &Settings, node: Arc<str>, events: &Events) -> Self {
        let ms = Duration::from_millis;
        let level = settings.compression.level();
        Self {
            level,
            events: events.reader(),
            node,
            identify_timeout: ms(settings.session.identify_timeout_ms),
            payloads_per_minute: settings.limits.payloads_per_minute,
            unidentified_bytes: u32::try_from(settings.limits.unidentified_bytes).unwrap_or(u32::MAX),
            unidentified_bytes_per_second: settings.limits.unidentified_bytes_per_second,
            message_bytes: settings.limits.message_bytes,
            event_bytes: settings.cluster.event_bytes,
            report_patience: ms(settings.cluster.hold_ms),
            requests_in_flight: settings.limits.requests_in_flight,
            max_guilds: settings.limits.guilds_per_session,
            origin: Instant::now(),
            heartbeat_interval: ms(settings.v1.heartbeat_interval_ms),
            heartbeat_tolerance: ms(settings.v1.heartbeat_tolerance_ms),
            session_expiring: ms(settings.v1.session_expiring_ms),
            ping_interval: Some(ms(settings.v1.ping_interval_ms)).filter(|interval| !interval.is_zero()),
            hello: Frames::of(level, &payload::hello(settings.v1.heartbeat_interval_ms)),
            heartbeat_ack: Frames::of(level, payload::HEARTBEAT_ACK),
        }
    }

    pub(super) fn hello(&self, encoding: Encoding) -> Bytes {
        self.hello.get(encoding)
    }

    pub(super) fn heartbeat_ack(&self, encoding: Encoding) -> Bytes {
        self.heartbeat_ack.get(encoding)
    }

    pub(super) fn heartbeat_ms(&self) -> u64 {
        u64::try_from(self.heartbeat_interval.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the allowance of bytes before identify: one token per byte.
    pub(super) const fn unidentified_input(&self) -> TokenBucket {
        TokenBucket::new(
            self.unidentified_bytes,
            self.unidentified_bytes_per_second.saturating_mul(60),
        )
    }

    /// Returns the longest time without a heartbeat.
    pub(super) fn heartbeat_limit(&self) -> Duration {
        self.heartbeat_interval + self.heartbeat_tolerance
    }
}
