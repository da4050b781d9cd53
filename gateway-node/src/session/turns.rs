//! Turns at long work, of which one session of a worker has one at a time.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// The turns of one worker. Whoever has work for longer than a few hundred microseconds does it in slices and takes a turn
/// for each. Between two turns the worker polls its sockets, so every other session waits for one slice at most, however
/// many sessions have work; and those get their turns first in, first out.
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turns {
    /// Waits for a turn. It ends when it is dropped, and must not be kept across an `await`.
    pub async fn take(&self) -> Turn<'_> {
        let permit = self.0.acquire().await.ok();
        // A task that yields goes on after the sockets were polled. One that merely got the permit might not.
        yield_now().await;
        Turn { _permit: permit }
    }
}

/// A turn.
pub struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}
