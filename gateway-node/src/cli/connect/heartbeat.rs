//! When heartbeats are due, and how long their answers take.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// A heartbeat that is not answered in this time belongs to a connection that is dead.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Beyond this an interval is as good as never, and adding it to an instant stays safe.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The heartbeats of one connection. Instants are passed in.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    next: Instant,
    /// The heartbeats without an answer, oldest first: answers come in order.
    unanswered: VecDeque<Instant>,
}

impl Heartbeat {
    /// Heartbeats every `interval_ms`, the first one at once: it shows the round trip without a wait.
    pub(super) fn start(interval_ms: u64, now: Instant) -> Self {
        Self {
            interval: Duration::from_millis(interval_ms.max(1)).min(LONGEST_INTERVAL),
            next: now,
            unanswered: VecDeque::new(),
        }
    }

    /// When there is something to do next.
    pub(super) fn wake(&self) -> Instant {
        self.unanswered
            .front()
            .map_or(self.next, |oldest| self.next.min(*oldest + ACK_DEADLINE))
    }

    /// Whether an answer is so late that none will come.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.unanswered
            .front()
            .is_some_and(|oldest| now >= *oldest + ACK_DEADLINE)
    }

    /// Whether a heartbeat is to be sent now, which then counts as sent.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.unanswered.push_back(now);
        // From now, not from when it was due: after a stall there is no burst.
        self.next = now + self.interval;
        true
    }

    /// An answer has arrived: how long it took, if it was asked for.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        Some(now - self.unanswered.pop_front()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn heartbeats_are_due_at_once_and_then_every_interval() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::start(500, start);
        assert!(heartbeat.take_due(start));
        assert_eq!(heartbeat.wake(), start + 500 * MS);
        assert!(!heartbeat.take_due(start + 499 * MS));
        assert!(heartbeat.take_due(start + 2_000 * MS));
        assert!(!heartbeat.take_due(start + 2_001 * MS));
    }

    #[test]
    fn answers_tell_the_round_trip_in_order() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::start(500, start);
        heartbeat.take_due(start);
        heartbeat.take_due(start + 500 * MS);
        assert_eq!(heartbeat.answered(start + 600 * MS), Some(600 * MS));
        assert_eq!(heartbeat.answered(start + 600 * MS), Some(100 * MS));
        assert_eq!(heartbeat.answered(start + 600 * MS), None);
    }

    #[test]
    fn a_missing_answer_is_noticed_before_the_next_heartbeat() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::start(60_000, start);
        heartbeat.take_due(start);
        assert_eq!(heartbeat.wake(), start + ACK_DEADLINE);
        assert!(!heartbeat.is_lost(start + ACK_DEADLINE - MS));
        assert!(heartbeat.is_lost(start + ACK_DEADLINE));
    }

    #[test]
    fn any_interval_is_safe() {
        let start = Instant::now();
        for interval in [0, 1, u64::MAX] {
            let mut heartbeat = Heartbeat::start(interval, start);
            assert!(heartbeat.take_due(start));
            assert!(heartbeat.wake() > start);
        }
    }
}
