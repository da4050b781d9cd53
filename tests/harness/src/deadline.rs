//! Waiting, never without an end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for one thing: far more than it takes, since two cores run many tests at once.
pub const WAIT: Duration = Duration::from_secs(20);

/// How often [`eventually`] looks.
const LOOK: Duration = Duration::from_millis(10);

/// The output of `future`, or a panic that says that `what` did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(what, WAIT, future).await
}

/// As [`within`], with another deadline.
pub async fn within_time<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> T {
    let output = timeout(deadline, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {} ms", deadline.as_millis()))
}

/// Looks until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} ms", WAIT.as_millis());
        sleep(LOOK).await;
    }
}
