//! Settings that all Discord connections share.

use std::{sync::Arc, time::Duration};

use shared::{compression::Level, discord::payload};
use tokio::time::Instant;

use crate::{
    config::{Settings, ZlibStream},
    hello_delay::HelloDelay,
};

/// The most time that a client gets to reconnect after it was asked to.
const MOST_GRACE: Duration = Duration::from_secs(5);

/// The settings of Discord's protocol, and payloads that are the same for every connection.
pub struct DiscordSessionSettings {
    pub(super) node: Arc<str>,
    pub(super) identify_timeout: Duration,
    pub(super) hello_delay: Duration,
    extra_hello_delay: HelloDelay,
    /// The longest time without a heartbeat: two intervals.
    pub(super) heartbeat_limit: Duration,
    pub(super) payload_bytes: usize,
    pub(super) payloads_per_minute: u32,
    /// How long a client has to reconnect after it was asked to.
    pub(super) grace: Duration,
    /// The time origin of the rate limits.
    pub(super) origin: Instant,
    /// The zlib compression level.
    pub(super) level: Level,
    /// Whether a session with a zlib stream gets a compressor of its own.
    pub(super) keeps_history: bool,
    pub(super) hello: String,
    pub(super) heartbeat_ack: String,
}

impl DiscordSessionSettings {
    /// Creates the settings of the node named `node`.
    pub fn new(settings: &Settings, extra_hello_delay: HelloDelay, node: Arc<str>) -> Self {
        let ms = Duration::from_millis;
        let discord = &settings.discord;
        // Half of the drain's time that is left when all sessions have been asked to reconnect and the last connection
        // still has to linger.
        let busy = ms(settings.drain.balancer_wait_ms + settings.drain.spread_ms + settings.limits.evict_linger_ms);
        let left = ms(settings.drain.deadline_ms).saturating_sub(busy);
        Self {
            identify_timeout: ms(settings.session.identify_timeout_ms),
            hello_delay: ms(discord.hello_delay_ms),
            extra_hello_delay,
            heartbeat_limit: 2 * ms(discord.heartbeat_interval_ms),
            payload_bytes: discord.payload_bytes,
            payloads_per_minute: discord.payloads_per_minute,
            grace: (left / 2).min(MOST_GRACE),
            origin: Instant::now(),
            level: settings.compression.level(),
            keeps_history: settings.compression.zlib_stream == ZlibStream::PerSession,
            hello: payload::hello(discord.heartbeat_interval_ms, &node),
            heartbeat_ack: payload::heartbeat_ack(),
            node,
        }
    }

    /// Returns when Hello is due on a connection that opens now.
    pub(super) fn hello_at(&self, now: Instant) -> Instant {
        now + self.hello_delay + self.extra_hello_delay.delay(now)
    }
}
