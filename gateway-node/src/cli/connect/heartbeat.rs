//! The schedule of heartbeats, and the round trips of their acknowledgements.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How long an acknowledgement may take before the connection counts as dead.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Maximum interval. A longer one is as good as never, and adding it to an instant could overflow.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The heartbeats of one connection. The current time is passed in.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    next: Instant,
    /// When each unacknowledged heartbeat was sent, oldest first. Acknowledgements come in order.
    unanswered: VecDeque<Instant>,
}

impl Heartbeat {
    /// Starts heartbeats every `interval_ms`. The first is due at once, to show the round trip without a wait.
    pub(super) fn start(interval_ms: u64, now: Instant) -> Self {
        Self {
            interval: Duration::from_millis(interval_ms.max(1)).min(LONGEST_INTERVAL),
            next: now,
            unanswered: VecDeque::new(),
        }
    }

    /// Returns when there is something to do next.
    pub(super) fn wake(&self) -> Instant {
        self.unanswered
            .front()
            .map_or(self.next, |oldest| self.next.min(*oldest + ACK_DEADLINE))
    }

    /// Returns whether an acknowledgement is overdue.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.unanswered
            .front()
            .is_some_and(|oldest| now >= *oldest + ACK_DEADLINE)
    }

    /// Returns whether a heartbeat is due, and if so counts it as sent.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.unanswered.push_back(now);
        // Counted from now, not from when it was due, so that a stall causes no burst.
        self.next = now + self.interval;
        true
    }

    /// Records an acknowledgement. Returns its round trip, or `None` if there was no heartbeat to acknowledge.
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
    fn answers_yield_round_trips_in_order() {
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
