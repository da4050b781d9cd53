//! Limits the rate of control frames and continuations.

use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// The allowance of control frames and continuations of one connection.
///
/// No session receives these frames, so no session can charge for them. Frames beyond the allowance have already been
/// read and are still processed. After that the socket is not read until the allowance covers them.
#[derive(Debug)]
pub(super) struct FrameAllowance {
    frames: TokenBucket,
    origin: Instant,
    /// The time until which the socket is not read.
    paused_until: Option<Instant>,
}

impl FrameAllowance {
    /// Creates an allowance of `per_minute` frames per minute.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            frames: TokenBucket::per_minute(per_minute),
            origin: now,
            paused_until: None,
        }
    }

    /// Charges for `frames` frames that were read.
    pub(super) fn charge(&mut self, frames: u16, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        self.frames.charge(frames.into(), since);
        let wait = self.frames.wait(since);
        self.paused_until = (!wait.is_zero()).then(|| now + wait);
    }

    /// Returns the time until which the socket must not be read, or `None` if it may be read now.
    pub(super) fn paused_until(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let until = self.paused_until?;
        if until <= now() {
            self.paused_until = None;
        }
        self.paused_until
    }
}
