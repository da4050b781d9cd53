//! How long a client is kept waiting for a cluster that is unavailable.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::backplane::Unavailable;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// The deadline of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    until: Instant,
}

impl Patience {
    /// Starts the time of a call.
    pub(super) fn begin() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
        }
    }

    /// Repeats `attempt` after errors that are `temporary`, until the deadline has passed.
    pub(super) async fn retry<T, E>(
        self,
        temporary: impl Fn(&E) -> bool,
        attempt: impl AsyncFn() -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            match attempt().await {
                Err(error) if temporary(&error) && Instant::now() < self.until => sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    /// Waits until the node has come further in its logs, which `changed` says, or for a pause.
    ///
    /// # Errors
    /// Fails once the deadline has passed.
    pub(super) async fn wait_for(self, changed: impl Future<Output = ()>) -> Result<(), Unavailable> {
        if Instant::now() >= self.until {
            return Err(Unavailable);
        }
        // What it waits for may also be Redis, whose return changes nothing here.
        let _ = timeout(PAUSE, changed).await;
        Ok(())
    }
}
