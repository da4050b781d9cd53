//! Turns at long work: of the sessions of one worker, one works at a time.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// The turns of one worker. Work that takes longer than a few hundred microseconds is done in slices, each in a turn of
/// its own. The worker polls its sockets between two turns, so however many sessions have work, any other session waits
/// for at most one slice. Turns are granted first in, first out.
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turns {
    /// Waits for a turn. The turn ends when it is dropped; it must not be held across an `await`.
    pub async fn take(&self) -> Turn<'_> {
        let permit = self.0.acquire().await.ok();
        // A task that yields continues only after the sockets were polled. A task that merely got the permit might not.
        yield_now().await;
        Turn { _permit: permit }
    }
}

/// A turn at long work. Dropping it ends the turn.
pub struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}
