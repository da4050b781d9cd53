//! The Redis of the nodes, and what goes wrong with it.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::RedisProcess;
use tokio::time::sleep;

use super::{
    plan::SharedIdLedger,
    trouble::{Trouble, step, up_to},
};

/// The longest time for which it is down.
const AWAY: Duration = Duration::from_millis(1500);
/// The greatest number of bytes that it loses.
const LOSS: u64 = 8 * 1024;

/// The Redis of a run.
#[derive(Debug)]
pub(super) struct IdRedis {
    redis: RedisProcess,
    /// How far its clock is ahead of the real time, in milliseconds.
    ahead_ms: i64,
    ledger: SharedIdLedger,
}

impl IdRedis {
    pub(super) async fn start(ledger: SharedIdLedger) -> Self {
        Self {
            // Keeps the append-only file short, which Redis reads whenever it starts.
            redis: RedisProcess::start_with_clock(&[("auto-aof-rewrite-min-size", "8mb")]).await,
            ahead_ms: 0,
            ledger,
        }
    }

    pub(super) fn url(&self) -> String {
        self.redis.url()
    }

    /// Injects a trouble and waits until it is over.
    pub(super) async fn inject(&mut self, trouble: Trouble, rng: &mut Rng) {
        match trouble {
            Trouble::RedisRestarted => self.restart(0, 0, rng).await,
            Trouble::RedisTruncated => self.restart(rng.u64(1..=LOSS), 0, rng).await,
            Trouble::RedisTruncatedAndClockBack => self.restart(rng.u64(1..=LOSS), -step(rng), rng).await,
            Trouble::RedisClockForwards => self.step_clock(step(rng)),
            Trouble::RedisClockBack => self.step_clock(-step(rng)),
            _ => panic!("{trouble} is not a trouble of Redis"),
        }
        self.ledger.add_trouble(trouble);
    }

    async fn restart(&mut self, loss: u64, step_ms: i64, rng: &mut Rng) {
        let time = up_to(AWAY, rng);
        self.ledger
            .note(format_args!("Redis is killed and loses {loss} bytes, for {time:?}"));
        self.redis.kill().await;
        if loss > 0 {
            self.redis.truncate_log(loss);
        }
        if step_ms != 0 {
            self.step_clock(step_ms);
        }
        sleep(time).await;
        self.redis.restart().await;
        self.ledger.note("Redis answers again");
    }

    fn step_clock(&mut self, step_ms: i64) {
        self.ahead_ms += step_ms;
        self.redis.set_clock(self.ahead_ms);
        let ahead_ms = self.ahead_ms;
        self.ledger
            .note(format_args!("Redis's clock goes {step_ms:+} ms, to {ahead_ms:+} ms"));
    }
}
