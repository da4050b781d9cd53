//! The publisher of the numbered events.

use std::time::Duration;

use gateway_harness::{NodeProcess, ask, eventually, get, key};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{NodeAddresses, guild_of};

/// How long it waits before it retries an event that was not accepted.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends one event after another, each until it is accepted.
pub(super) struct RollingPublisher {
    shards: u32,
    rate: u32,
}

impl RollingPublisher {
    pub(super) const fn new(shards: u32, rate: u32) -> Self {
        Self { shards, rate }
    }

    /// Waits until this many sessions are connected.
    pub(super) async fn wait_for(&self, sessions: u32, nodes: &[NodeProcess]) {
        eventually("every session", async || {
            let mut connected = 0;
            for node in nodes {
                connected += get(node, "/health").await.json()["sessions"]["discord"]
                    .as_u64()
                    .unwrap_or(0);
            }
            (connected >= u64::from(sessions)).then_some(())
        })
        .await;
    }

    /// Publishes until it is stopped. Returns the number of events.
    pub(super) async fn publish(self, accepting: NodeAddresses, stopped: watch::Receiver<bool>) -> u64 {
        let mut pace = interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        // Every shard gets the same number of events.
        while !*stopped.borrow() || number % u64::from(self.shards) != 0 {
            pace.tick().await;
            self.send(number, &accepting).await;
            number += 1;
        }
        number
    }

    async fn send(&self, number: u64, accepting: &NodeAddresses) {
        let shard = u32::try_from(number % u64::from(self.shards)).unwrap_or(0);
        let event =
            json!({ "t": "X", "to": { "guild": guild_of(shard).to_string() }, "d": { "n": number } }).to_string();
        let (bearer, name) = (format!("Bearer {}", key("root")), number.to_string());
        let headers = [("authorization", &*bearer), ("idempotency-key", &*name)];
        loop {
            let address = {
                let accepting = accepting.borrow();
                accepting.get(fastrand::usize(..accepting.len().max(1))).copied()
            };
            if let Some(address) = address
                && let Ok(answer) = ask(address, "POST", "/api/v1/events", &headers, &event).await
                && answer.status == 202
            {
                return;
            }
            sleep(PAUSE).await;
        }
    }
}
