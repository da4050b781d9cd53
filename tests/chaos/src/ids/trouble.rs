//! The troubles, which occur again and again.

use std::{fmt, time::Duration};

use fastrand::Rng;
use serde::Serialize;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A node is suspended for longer than its lease.
    NodePaused,
    /// A node is killed and started again.
    NodeKilled,
    /// The wall clock of a node jumps forwards while it runs.
    NodeClockForwards,
    /// The wall clock of a node jumps back while it runs.
    NodeClockBack,
    /// Redis is killed and comes back with its data.
    RedisRestarted,
    /// Redis is killed and comes back without its last writes.
    RedisTruncated,
    /// Redis's clock jumps forwards while it runs.
    RedisClockForwards,
    /// Redis's clock jumps back while it runs.
    RedisClockBack,
    /// Redis is killed and comes back without its last writes, and with a clock that jumped back.
    RedisTruncatedAndClockBack,
}

impl Trouble {
    /// Troubles of nodes.
    pub(super) const OF_NODES: [Self; 4] = [
        Self::NodePaused,
        Self::NodeKilled,
        Self::NodeClockForwards,
        Self::NodeClockBack,
    ];
    /// Troubles of Redis.
    pub(super) const OF_REDIS: [Self; 5] = [
        Self::RedisRestarted,
        Self::RedisTruncated,
        Self::RedisClockForwards,
        Self::RedisClockBack,
        Self::RedisTruncatedAndClockBack,
    ];

    /// Returns all troubles.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OF_NODES.into_iter().chain(Self::OF_REDIS)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NodePaused => "node paused",
            Self::NodeKilled => "node killed",
            Self::NodeClockForwards => "node's clock forwards",
            Self::NodeClockBack => "node's clock back",
            Self::RedisRestarted => "Redis restarted",
            Self::RedisTruncated => "Redis truncated",
            Self::RedisClockForwards => "Redis's clock forwards",
            Self::RedisClockBack => "Redis's clock back",
            Self::RedisTruncatedAndClockBack => "Redis truncated, clock back",
        })
    }
}

/// Repeats the kinds endlessly, in a new random order each time, so that all occur equally often.
#[derive(Debug)]
pub(super) struct TroubleCycle {
    kinds: &'static [Trouble],
    left: Vec<Trouble>,
}

impl TroubleCycle {
    pub(super) fn new(kinds: &'static [Trouble]) -> Self {
        Self {
            kinds,
            left: Vec::new(),
        }
    }

    pub(super) fn next(&mut self, rng: &mut Rng) -> Trouble {
        if self.left.is_empty() {
            self.left.extend(self.kinds);
            rng.shuffle(&mut self.left);
        }
        self.left.pop().expect("there is at least one kind")
    }
}

/// Returns how far a clock is set, in milliseconds: most often about the length of a lease, where the windows of two
/// leases would touch, and sometimes a quarter of an hour.
pub(super) fn step(rng: &mut Rng) -> i64 {
    let most = rng.choice([500, 3000, 3000, 10_000, 60_000, 900_000]);
    rng.i64(200..=most.unwrap_or(3000))
}

/// Returns a random time of up to `most`.
pub(super) fn up_to(most: Duration, rng: &mut Rng) -> Duration {
    most.mul_f64(rng.f64())
}
