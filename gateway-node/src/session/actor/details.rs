//! What a session is doing, and how it ended, for operators.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::{
    registry::SessionDetails,
    session::{Protocol, ending::Ending},
};

/// The log target of the lines about the ends of sessions.
const TARGET: &str = "gateway_node::session";

impl<P: Protocol> Session<P> {
    /// Records the library that the client says it is.
    pub(super) fn name_library(&mut self, library: &str) {
        let user_agent = self.client.as_ref().and_then(|name| name.user_agent.as_deref());
        self.client = self.worker.client_names.intern(user_agent, Some(library));
    }

    /// Returns what the session is doing. The guilds of a Discord session are those of its shard, which it does not
    /// count.
    pub(super) fn details(&self) -> SessionDetails {
        let now = Instant::now();
        let opened = now.saturating_duration_since(self.began);
        let today = crate::clock::unix_ms();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let name = self.client.as_deref();
        let mut details = SessionDetails {
            address: self.address.to_string(),
            user_agent: name.and_then(|name| name.user_agent.as_deref()).map(str::to_owned),
            library: name.and_then(|name| name.library.as_deref()).map(str::to_owned),
            user: self
                .ticket
                .as_ref()
                .and_then(|it| it.rights.user.as_ref())
                .map(ToString::to_string),
            connected_at: today.saturating_sub(ms(opened)),
            guilds: self.guild_count.into(),
            messages_in: self.received.into(),
            bytes_in: self.received_bytes,
            events_in: self.published.into(),
            frames_out: self.outbox.frames().into(),
            bytes_out: self.outbox.frame_bytes(),
            events_out: self.outbox.delivered_frames().into(),
            waiting_bytes: self.outbox.waiting() as u64,
            ..SessionDetails::default()
        };
        let heartbeat = self.protocol.describe(&mut details).filter(|last| *last > self.began);
        details.heartbeat_at = heartbeat.map(|last| today.saturating_sub(ms(now.saturating_duration_since(last))));
        details
    }

    /// Logs why the session ended. The client of a connection without a session has shown no key, so such lines are at
    /// DEBUG.
    pub(super) fn log_end(&self, ending: Ending) {
        self.worker.app.metrics.session_ending(ending.reason);
        let level = ending.level(self.id.is_some());
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        let open = self.began.elapsed();
        let heard = Duration::from_millis(self.heard_ms.into());
        log::log!(
            target: TARGET,
            level,
            reason = ending.reason,
            code = ending.code,
            session:% = self.id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            key = self.key.as_ref().map(|key| key.id()),
            address:% = self.address,
            protocol = P::NAME,
            seconds = rounded(open),
            silent_seconds = rounded(open.saturating_sub(heard)),
            received = self.received,
            sent = self.outbox.frames();
            "session ended"
        );
    }
}

/// Returns a duration in seconds, with milliseconds.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
