//! How fast the sessions of a key may change what they report.
//!
//! Nothing is refused: a report that comes too fast waits, and a newer one of the same session takes its place.

use std::{sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// So many keys may be in the table before those that have their whole allowance leave it.
const SWEEP: usize = 64;
/// The most keys in the table. More share one allowance.
const MOST_KEYS: usize = 16_384;

/// How many guild ids the sessions of one key on one node may change in their reports.
#[derive(Debug, Clone, Copy)]
pub struct ReportLimits {
    /// Ids in a second.
    pub ids_per_second: u32,
    /// Ids at once.
    pub ids_burst: u32,
}

impl Default for ReportLimits {
    fn default() -> Self {
        Self {
            ids_per_second: 2000,
            ids_burst: 20_000,
        }
    }
}

/// The allowance of each key.
#[derive(Debug)]
pub(crate) struct ReportRates {
    limits: ReportLimits,
    origin: Instant,
    keys: FxHashMap<Arc<str>, TokenBucket>,
    /// How many keys make a sweep worth its while.
    sweep_at: usize,
}

impl ReportRates {
    pub(crate) fn new(limits: ReportLimits) -> Self {
        Self {
            limits,
            origin: Instant::now(),
            keys: FxHashMap::default(),
            sweep_at: SWEEP,
        }
    }

    /// How long a report of this key has to wait, zero for one that may begin.
    pub(crate) fn wait(&mut self, key: &Arc<str>, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.origin);
        let key = self.name(key);
        self.keys.get_mut(&key).map_or(Duration::ZERO, |ids| ids.wait(since))
    }

    /// Charges a key for a report that begins and changes so many ids. The allowance may go below zero by one report.
    pub(crate) fn charge(&mut self, key: &Arc<str>, ids: usize, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        if self.keys.len() >= self.sweep_at {
            // A full allowance is what a key begins with.
            self.keys.retain(|_, ids| !ids.is_full(since));
            self.sweep_at = (2 * self.keys.len()).clamp(SWEEP, MOST_KEYS);
        }
        let ReportLimits {
            ids_per_second,
            ids_burst,
        } = self.limits;
        let key = self.name(key);
        let allowance = self
            .keys
            .entry(key)
            .or_insert_with(|| TokenBucket::new(ids_burst, ids_per_second.saturating_mul(60)));
        // A report that changes no id is not free either.
        allowance.charge(u32::try_from(ids).unwrap_or(u32::MAX).saturating_add(1), since);
    }

    /// What the allowance of a key is kept under: all that do not fit share the empty name.
    fn name(&self, key: &Arc<str>) -> Arc<str> {
        if self.keys.len() >= MOST_KEYS && !self.keys.contains_key(key) {
            return "".into();
        }
        Arc::clone(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReportLimits = ReportLimits {
        ids_per_second: 100,
        ids_burst: 200,
    };

    fn key(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn ids_beyond_the_burst_wait_for_each_key_alone() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        assert_eq!(rates.wait(&key("a"), now), Duration::ZERO);
        rates.charge(&key("a"), 399, now);
        // 200 below zero, and one for the next.
        assert_eq!(rates.wait(&key("a"), now), Duration::from_millis(2010));
        assert_eq!(rates.wait(&key("a"), now + Duration::from_millis(2010)), Duration::ZERO);
        assert_eq!(rates.wait(&key("b"), now), Duration::ZERO);
    }

    #[test]
    fn a_report_that_changes_no_id_costs_one() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        for _ in 0..200 {
            assert_eq!(rates.wait(&key("a"), now), Duration::ZERO);
            rates.charge(&key("a"), 0, now);
        }
        assert_eq!(rates.wait(&key("a"), now), Duration::from_millis(10));
    }

    #[test]
    fn keys_with_their_whole_allowance_leave_the_table() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        for number in 0..SWEEP {
            rates.charge(&key(&number.to_string()), 10, now);
        }
        assert_eq!(rates.keys.len(), SWEEP);
        rates.charge(&key("late"), 10, now + Duration::from_secs(10));
        assert_eq!(rates.keys.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_keys_beyond_it_share_an_allowance() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        for number in 0..MOST_KEYS + 10 {
            rates.charge(&key(&number.to_string()), 300, now);
        }
        assert!(rates.keys.len() <= MOST_KEYS + 1, "{}", rates.keys.len());
        assert!(!rates.wait(&key("another"), now).is_zero());
    }
}
