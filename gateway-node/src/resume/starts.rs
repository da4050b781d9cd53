//! Limits how many sessions an application starts.

use std::time::Duration;

use rustc_hash::FxHashMap;
use shared::discord::Shard;
use tokio::time::Instant;

/// The window in which `max_concurrency` sessions may identify: five seconds, less a tolerance for clients that wait
/// exactly five seconds and arrive early.
pub(crate) const WINDOW: Duration = Duration::from_millis(4800);
/// The time after which the daily count starts again.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often an application may start sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimits {
    /// The starts per five seconds, for the shards whose ids have the same remainder modulo this number.
    pub max_concurrency: u32,
    /// The starts per day.
    pub per_day: u32,
}

/// The session starts that an application has left today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartBudget {
    /// The number of sessions that may still be started.
    pub remaining: u32,
    /// The time until the full number is available again.
    pub reset_after: Duration,
}

/// The starts of one application.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// The start of the latest window of each remainder, and its number of starts.
    windows: FxHashMap<u32, (Instant, u32)>,
    day: Option<(Instant, u32)>,
}

impl Starts {
    /// Counts a start. Returns `false` if no session may be started now.
    pub(crate) fn take(&mut self, shard: Shard, limits: StartLimits, now: Instant) -> bool {
        let concurrency = limits.max_concurrency.max(1);
        // There are never more windows than remainders.
        self.windows.retain(|_, (begin, _)| now.duration_since(*begin) < WINDOW);
        let (begin, in_window) = *self.windows.get(&(shard.id % concurrency)).unwrap_or(&(now, 0));
        let (first, in_day) = self.today(now);
        if in_window >= concurrency || in_day >= limits.per_day {
            return false;
        }
        self.windows.insert(shard.id % concurrency, (begin, in_window + 1));
        self.day = Some((first, in_day + 1));
        true
    }

    /// Returns the session starts that are left today.
    pub(crate) fn budget(&self, limits: StartLimits, now: Instant) -> StartBudget {
        let (first, in_day) = self.today(now);
        StartBudget {
            remaining: limits.per_day.saturating_sub(in_day),
            reset_after: if in_day == 0 {
                Duration::ZERO
            } else {
                (first + DAY).saturating_duration_since(now)
            },
        }
    }

    fn today(&self, now: Instant) -> (Instant, u32) {
        self.day
            .filter(|(first, _)| now.duration_since(*first) < DAY)
            .unwrap_or((now, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StartLimits = StartLimits {
        max_concurrency: 2,
        per_day: 5,
    };

    fn shard(id: u32) -> Shard {
        Shard { id, count: 100 }
    }

    #[test]
    fn shards_of_one_remainder_share_a_window() {
        let (mut starts, now) = (Starts::default(), Instant::now());
        assert!(starts.take(shard(0), LIMITS, now) && starts.take(shard(2), LIMITS, now));
        assert!(!starts.take(shard(4), LIMITS, now));
        assert!(starts.take(shard(1), LIMITS, now));
        assert!(!starts.take(shard(0), LIMITS, now + WINDOW.saturating_sub(Duration::from_millis(1))));
        assert!(starts.take(shard(0), LIMITS, now + WINDOW));
    }

    #[test]
    fn the_daily_budget_resets_after_a_day() {
        let (mut starts, now) = (Starts::default(), Instant::now());
        assert_eq!(starts.budget(LIMITS, now).remaining, 5);
        for n in 0..5 {
            assert!(starts.take(shard(0), LIMITS, now + WINDOW * n));
        }
        let later = now + WINDOW * 5;
        assert!(!starts.take(shard(0), LIMITS, later));
        let budget = starts.budget(LIMITS, later);
        assert_eq!(
            (budget.remaining, budget.reset_after),
            (0, DAY.saturating_sub(WINDOW * 5))
        );
        assert!(starts.take(shard(0), LIMITS, now + DAY));
        assert_eq!(starts.budget(LIMITS, now + DAY).remaining, 4);
    }
}
