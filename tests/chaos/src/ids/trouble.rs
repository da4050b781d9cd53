//! What goes wrong, again and again.

use std::{fmt, time::Duration};

use fastrand::Rng;
use serde::Serialize;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A node is stopped for longer than its lease lasts, and goes on.
    NodePaused,
    /// A node is killed and started again.
    NodeKilled,
    /// The wall clock of a node goes forwards while it runs.
    NodeClockForwards,
    /// The wall clock of a node goes back while it runs.
    NodeClockBack,
    /// Redis is killed and comes back with its data.
    RedisRestarted,
    /// Redis is killed and comes back without what it wrote last.
    RedisTruncated,
    /// Redis's clock goes forwards while it runs.
    RedisClockForwards,
    /// Redis's clock goes back while it runs.
    RedisClockBack,
    /// Redis is killed and comes back without what it wrote last, and with a clock that went back.
    RedisTruncatedAndClockBack,
}

impl Trouble {
    /// What happens to nodes.
    pub(super) const OF_NODES: [Self; 4] = [
        Self::NodePaused,
        Self::NodeKilled,
        Self::NodeClockForwards,
        Self::NodeClockBack,
    ];
    /// What happens to Redis.
    pub(super) const OF_REDIS: [Self; 5] = [
        Self::RedisRestarted,
        Self::RedisTruncated,
        Self::RedisClockForwards,
        Self::RedisClockBack,
        Self::RedisTruncatedAndClockBack,
    ];

    /// All of them.
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

/// A kind after the other in an order of chance, each as often as every other.
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
        self.left.pop().expect("there are kinds")
    }
}

/// How far a clock is set, in milliseconds: most often about as far as a lease lasts, where two windows would touch, and
/// sometimes a quarter of an hour.
pub(super) fn step(rng: &mut Rng) -> i64 {
    let most = rng.choice([500, 3000, 3000, 10_000, 60_000, 900_000]);
    rng.i64(200..=most.unwrap_or(3000))
}

/// Some time of up to this.
pub(super) fn up_to(most: Duration, rng: &mut Rng) -> Duration {
    most.mul_f64(rng.f64())
}
