//! Limits on what each key may publish over HTTP at this node, in events and in bytes.
//!
//! A request is charged before the work is done: its bytes once the body has arrived, its events once they are parsed.
//! A request that is refused after that stays charged.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ApiError, HttpState};
use crate::{auth::Key, config::LimitSettings};

/// The setting that limits events.
pub(super) const EVENTS: &str = "limits.publish_events_per_minute";
/// The setting that limits bytes.
pub(super) const BYTES: &str = "limits.publish_bytes_per_minute";
/// The period of the rates.
const MINUTE: Duration = Duration::from_secs(60);
/// The burst size, as the time in which it refills. Short, because a burst delays other keys.
const BURST: Duration = Duration::from_secs(10);
/// The time between two sweeps, which forget the API keys that have used nothing of their allowance.
const SWEEP: Duration = Duration::from_secs(60);
/// Maximum keys with their own allowance. Keys beyond that share one until a sweep makes room.
const MOST_KEYS: usize = 65_536;

/// What each key may still publish at this node. Clones share their counts.
#[derive(Debug, Clone)]
pub struct PublishAllowances {
    events_per_minute: u64,
    bytes_per_minute: u64,
    most_keys: usize,
    keys: Arc<Mutex<AllowanceTable>>,
}

#[derive(Debug)]
struct AllowanceTable {
    known: HashMap<KeyName, Allowance>,
    /// Shared by the keys that have no allowance of their own.
    others: Allowance,
    swept: Instant,
}

/// The application and the id of a key.
type KeyName = (Arc<str>, Arc<str>);

#[derive(Debug, Clone, Copy)]
struct Allowance {
    events: BucketPair,
    bytes: BucketPair,
}

impl Allowance {
    const fn full(now: Instant) -> Self {
        Self {
            events: BucketPair { full_at: now },
            bytes: BucketPair { full_at: now },
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.events.full_at <= now && self.bytes.full_at <= now
    }
}

/// A token bucket with the capacity that refills in [`BURST`], stored as the time at which it will be full.
#[derive(Debug, Clone, Copy)]
struct BucketPair {
    full_at: Instant,
}

impl BucketPair {
    /// Takes `amount`, all or nothing.
    ///
    /// An amount beyond the capacity is taken from a full bucket, which then goes into debt. So the size of a request
    /// does not depend on the rate, and the rate still holds on average.
    ///
    /// # Errors
    /// The time until `amount` can be taken, provided nothing else is taken meanwhile.
    fn take(&mut self, amount: u64, per_minute: u64, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now);
        let refill = u128::from(amount) * MINUTE.as_nanos() / u128::from(per_minute.max(1));
        let refill = Duration::from_nanos(u64::try_from(refill).unwrap_or(u64::MAX));
        let most = BURST.saturating_sub(refill);
        let early = missing.saturating_sub(most);
        if !early.is_zero() {
            return Err(early);
        }
        self.full_at = now + missing + refill;
        Ok(())
    }
}

impl PublishAllowances {
    /// Creates full allowances.
    pub fn new(limits: &LimitSettings) -> Self {
        let now = Instant::now();
        Self {
            events_per_minute: limits.publish_events_per_minute.into(),
            bytes_per_minute: limits.publish_bytes_per_minute,
            most_keys: MOST_KEYS,
            keys: Arc::new(Mutex::new(AllowanceTable {
                known: HashMap::new(),
                others: Allowance::full(now),
                swept: now,
            })),
        }
    }

    fn take_events(&self, key: &KeyName, events: u64, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |allowance| {
            allowance.events.take(events, self.events_per_minute, now)
        })
    }

    fn take_bytes(&self, key: &KeyName, bytes: u64, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |allowance| {
            allowance.bytes.take(bytes, self.bytes_per_minute, now)
        })
    }

    fn with<T>(&self, key: &KeyName, now: Instant, take: impl FnOnce(&mut Allowance) -> T) -> T {
        let mut keys = self.keys.lock();
        keys.sweep(now);
        if let Some(allowance) = keys.known.get_mut(key) {
            return take(allowance);
        }
        if keys.known.len() >= self.most_keys {
            return take(&mut keys.others);
        }
        take(keys.known.entry(key.clone()).or_insert(Allowance::full(now)))
    }
}

impl AllowanceTable {
    /// Forgets keys with a full allowance, since a new one is identical.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.known.retain(|_, allowance| !allowance.is_full(now));
        }
    }
}

impl HttpState {
    /// Charges the bytes of a body to its key.
    ///
    /// # Errors
    /// 429 if the key has sent its maximum. The refusal is counted.
    pub(super) fn charge_bytes(&self, key: &Key, bytes: usize) -> Result<(), ApiError> {
        let taken = self.publishing.take_bytes(&name_of(key), bytes as u64, Instant::now());
        self.rate_limited(BYTES, taken)
    }

    /// Charges events to their key.
    ///
    /// # Errors
    /// 429 if the key has published its maximum, or cannot publish all of these now. The refusal is counted.
    pub(super) fn charge_events(&self, key: &Key, events: usize) -> Result<(), ApiError> {
        let events = events.max(1) as u64;
        let taken = self.publishing.take_events(&name_of(key), events, Instant::now());
        self.rate_limited(EVENTS, taken)
    }

    fn rate_limited(&self, setting: &'static str, taken: Result<(), Duration>) -> Result<(), ApiError> {
        taken.map_err(|wait| {
            self.app.metrics.event_refused("rate_limited");
            ApiError::RateLimited { setting, wait }
        })
    }
}

fn name_of(key: &Key) -> KeyName {
    (Arc::clone(key.application()), Arc::clone(key.shared_id()))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn allowances(events_per_minute: u64, bytes_per_minute: u64) -> PublishAllowances {
        PublishAllowances {
            events_per_minute,
            bytes_per_minute,
            ..PublishAllowances::new(&LimitSettings::default())
        }
    }

    fn key(id: &str) -> KeyName {
        ("utilbot".into(), id.into())
    }

    fn known(allowances: &PublishAllowances) -> usize {
        allowances.keys.lock().known.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_applies() {
        let allowances = allowances(600, 600);
        let take = |events| allowances.take_events(&key("a"), events, Instant::now());
        for _ in 0..100 {
            assert_eq!(take(1), Ok(()));
        }
        assert_eq!(take(1), Err(Duration::from_millis(100)));
        advance(Duration::from_millis(99)).await;
        assert_eq!(take(1), Err(Duration::from_millis(1)));
        advance(Duration::from_millis(1)).await;
        assert_eq!(take(1), Ok(()));
        assert_eq!(take(1), Err(Duration::from_millis(100)));
        advance(Duration::from_secs(3600)).await;
        for _ in 0..100 {
            assert_eq!(take(1), Ok(()));
        }
        assert_eq!(take(1), Err(Duration::from_millis(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_passes_whole_or_not_at_all() {
        let allowances = allowances(600, 600);
        let take = |events| allowances.take_events(&key("a"), events, Instant::now());
        assert_eq!(take(60), Ok(()));
        assert_eq!(take(41), Err(Duration::from_millis(100)));
        // The refused list was not charged.
        assert_eq!(take(40), Ok(()));
        assert!(take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_larger_than_the_bucket_passes_when_full_and_leaves_a_debt() {
        let allowances = allowances(600, 600);
        let take = |events| allowances.take_events(&key("a"), events, Instant::now());
        assert_eq!(take(1), Ok(()));
        assert_eq!(take(1000), Err(Duration::from_millis(100)));
        advance(Duration::from_millis(100)).await;
        assert_eq!(take(1000), Ok(()));
        // This is a hundred seconds of the rate, of which the bucket held ten.
        assert_eq!(take(1), Err(Duration::from_millis(90_100)));
        advance(Duration::from_millis(90_100)).await;
        assert_eq!(take(1), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn events_bytes_and_keys_count_separately_and_clones_together() {
        let allowances = allowances(60, 6000);
        let now = Instant::now();
        assert_eq!(allowances.take_events(&key("a"), 10, now), Ok(()));
        assert!(allowances.clone().take_events(&key("a"), 1, now).is_err());
        assert_eq!(allowances.take_bytes(&key("a"), 1000, now), Ok(()));
        assert!(allowances.take_bytes(&key("a"), 1, now).is_err());
        assert_eq!(allowances.take_events(&key("b"), 10, now), Ok(()));
        let elsewhere = ("other".into(), "a".into());
        assert_eq!(allowances.take_events(&elsewhere, 10, now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_keys_in_debt_are_remembered() {
        let allowances = allowances(60, 6000);
        for id in 0..1000 {
            let taken = allowances.take_events(&key(&id.to_string()), 1, Instant::now());
            assert_eq!(taken, Ok(()));
        }
        // A debt of a hundred seconds of the rate outlives the sweep.
        assert_eq!(allowances.take_events(&key("deep"), 100, Instant::now()), Ok(()));
        assert_eq!(known(&allowances), 1001);
        advance(SWEEP).await;
        assert!(allowances.take_events(&key("deep"), 1, Instant::now()).is_err());
        assert_eq!(known(&allowances), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_beyond_the_limit_share_an_allowance() {
        let allowances = PublishAllowances {
            most_keys: 2,
            ..allowances(60, 6000)
        };
        let take = |id| allowances.take_events(&key(id), 10, Instant::now());
        assert_eq!([take("a"), take("b"), take("c")], [Ok(()); 3]);
        assert!(take("d").is_err());
        assert_eq!(known(&allowances), 2);
        advance(SWEEP).await;
        assert_eq!([take("c"), take("d")], [Ok(()); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_rates_and_amounts_do_not_overflow() {
        let allowances = allowances(1, u64::MAX);
        assert_eq!(
            allowances.take_bytes(&key("a"), u64::from(u32::MAX), Instant::now()),
            Ok(())
        );
        assert_eq!(allowances.take_events(&key("a"), 1000, Instant::now()), Ok(()));
        let wait = allowances.take_events(&key("a"), 1, Instant::now()).unwrap_err();
        assert_eq!(wait, 1000 * MINUTE);
    }
}
