//! Limits how fast the sessions of one API key may change their reports.
//!
//! Nothing is refused: a report that comes too fast waits, and a newer one of the same session replaces it.

use std::{sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// The table size at which keys with a full allowance are first removed.
const SWEEP: usize = 64;
/// The maximum number of keys in the table. All further keys share one allowance.
const MOST_KEYS: usize = 16_384;

/// How many guild ids the sessions of one key may change in their reports, on one node.
#[derive(Debug, Clone, Copy)]
pub struct ReportLimits {
    /// The ids per second.
    pub ids_per_second: u32,
    /// The burst, in ids.
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
    /// The table size at which the next sweep runs.
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

    /// How long a report of this key has to wait; zero if it may be applied now.
    pub(crate) fn wait(&mut self, key: &Arc<str>, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.origin);
        let key = self.name(key);
        self.keys.get_mut(&key).map_or(Duration::ZERO, |ids| ids.wait(since))
    }

    /// Charges a key for a report that changes this many ids. One report may take the allowance below zero.
    pub(crate) fn charge(&mut self, key: &Arc<str>, ids: usize, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        if self.keys.len() >= self.sweep_at {
            // A new key starts with a full allowance, so full ones can be dropped.
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

    /// Returns the table key for an API key. Keys that do not fit into the table share the empty name.
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
    fn ids_beyond_the_burst_delay_only_their_own_key() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        assert_eq!(rates.wait(&key("a"), now), Duration::ZERO);
        rates.charge(&key("a"), 399, now);
        // The allowance is 200 below zero, and the next report costs at least one.
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
    fn keys_with_a_full_allowance_leave_the_table() {
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
    fn api_keys_beyond_the_table_share_one_allowance() {
        let mut rates = ReportRates::new(LIMITS);
        let now = Instant::now();
        for number in 0..MOST_KEYS + 10 {
            rates.charge(&key(&number.to_string()), 300, now);
        }
        assert!(rates.keys.len() <= MOST_KEYS + 1, "{}", rates.keys.len());
        assert!(!rates.wait(&key("another"), now).is_zero());
    }
}
