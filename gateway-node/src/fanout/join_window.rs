//! How long a busy shard waits for more entries to deliver together.
//!
//! What arrives during a pass waits for the next one. A publisher that keeps some events in flight sends the next ones only
//! when the pass is over and its own events have arrived. Without a wait, what it had sent before is then under way
//! already, so that two half batches alternate for ever, and every session gets twice as many writes.

use std::time::Duration;

/// The part of the last pass that a shard waits for at most.
const PART: u32 = 32;
/// The longest wait.
const LONGEST: Duration = Duration::from_millis(2);
/// The shortest wait that timers can do.
const SHORTEST: Duration = Duration::from_millis(1);
/// With this many entries, a pass saves nothing more by having others.
const ENOUGH: usize = 16;

/// Returns how long to wait for more before the next pass, after a pass that took `last` and during which `waiting` entries
/// arrived. Returns `None` if the shard is idle, if its passes are short, or if enough entries wait.
pub(crate) fn join_window(last: Duration, waiting: usize) -> Option<Duration> {
    let window = (last / PART).min(LONGEST);
    (window >= SHORTEST && (1..ENOUGH).contains(&waiting)).then_some(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_shard_with_long_passes_waits() {
        let ms = Duration::from_millis;
        assert_eq!(join_window(ms(80), 0), None);
        assert_eq!(join_window(ms(31), 4), None);
        assert_eq!(join_window(ms(80), 16), None);
        assert_eq!(join_window(ms(48), 4), Some(Duration::from_micros(1500)));
        assert_eq!(join_window(ms(80), 1), Some(ms(2)));
    }
}
