//! How many frames a peer may send that are no message of their own.

use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// The allowance of control frames and continuations of one connection.
///
/// No session ever gets them, so no session can charge for them. What exceeds the allowance was read together with
/// other frames and is processed; then nothing is read until the debt is paid.
#[derive(Debug)]
pub(super) struct FrameAllowance {
    frames: TokenBucket,
    origin: Instant,
    /// Until when nothing is read.
    paused_until: Option<Instant>,
}

impl FrameAllowance {
    /// An allowance of so many frames a minute.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            frames: TokenBucket::per_minute(per_minute),
            origin: now,
            paused_until: None,
        }
    }

    /// Charges for frames that were read.
    pub(super) fn charge(&mut self, frames: u16, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        self.frames.charge(frames.into(), since);
        let wait = self.frames.wait(since);
        self.paused_until = (!wait.is_zero()).then(|| now + wait);
    }

    /// Until when nothing is to be read, if that is later than `now`.
    pub(super) fn paused_until(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let until = self.paused_until?;
        if until <= now() {
            self.paused_until = None;
        }
        self.paused_until
    }
}
