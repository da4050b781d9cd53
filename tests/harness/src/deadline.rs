//! Waiting with deadlines.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for one thing: much longer than it should take, since many tests may share two cores.
pub const WAIT: Duration = Duration::from_secs(20);

/// How often [`eventually`] checks.
const POLL: Duration = Duration::from_millis(10);

/// Returns the output of `future`, or panics at the deadline and names `what` did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(what, WAIT, future).await
}

/// Like [`within`], with another deadline.
pub async fn within_time<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> T {
    let output = timeout(deadline, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {} ms", deadline.as_millis()))
}

/// Calls `look` until it returns something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} ms", WAIT.as_millis());
        sleep(POLL).await;
    }
}
