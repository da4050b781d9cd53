//! Pure arithmetic: the rate limit of a client and the id of a session.

use std::{iter::repeat_n, time::Duration};

use shared::{
    session_id::SessionId,
    snowflake::{EPOCH_MS, Generator, SnowflakeError, Window},
    token_bucket::TokenBucket,
};

use super::step::{CALLS, each, step};

pub(super) fn take_token() -> usize {
    step!((bucket: &mut TokenBucket, now: Duration) -> bool { bucket.take(now) });
    let mut bucket = TokenBucket::per_minute(1200);
    let times = (0..CALLS as u64).map(Duration::from_millis);
    each(times, |now| step(&mut bucket, now), |taken| *taken)
}

pub(super) fn next_id() -> usize {
    step!((ids: &mut Generator, now_ms: u64) -> Result<SessionId, SnowflakeError> { ids.next(now_ms) });
    let window = Window {
        start_ms: EPOCH_MS,
        end_ms: EPOCH_MS + 1000,
    };
    let mut ids = Generator::new(3, window).expect("a valid window");
    each(
        repeat_n(EPOCH_MS, CALLS),
        |now_ms| step(&mut ids, now_ms),
        Result::is_ok,
    )
}
