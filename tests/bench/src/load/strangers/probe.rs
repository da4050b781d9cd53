//! Healthy clients, which measure how well they are served.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use gateway_harness::{PacketEncoding, V1Client};
use serde_json::json;

use super::super::latencies::{Latencies, LatencySummary};

/// Interval between two heartbeats of a client, within its rate limit.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(55);
/// Interval between two connecting clients.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// Clients that send heartbeats, and clients that connect and leave.
pub(super) struct HealthyProbe {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) healthy: u32,
    pub(super) time: Duration,
}

/// How the healthy clients were served.
pub(super) struct Served {
    /// From sending a heartbeat to its ACK.
    pub(super) heartbeat: LatencySummary,
    /// From opening the TCP connection to the answer to Identify.
    pub(super) connect: LatencySummary,
    /// Sessions that the node ended.
    pub(super) lost: u32,
}

impl HealthyProbe {
    /// Measures for `self.time`.
    pub(super) fn run(&self) -> Result<Served> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let end = Instant::now() + self.time;
            let beating = join_all((0..self.healthy).map(|_| self.beat(end)));
            let (beats, connect) = tokio::join!(beating, self.connect(end));
            let mut heartbeat = Latencies::default();
            let mut lost = 0;
            for (times, is_lost) in beats {
                for time in times {
                    heartbeat.add(time);
                }
                lost += u32::from(is_lost);
            }
            Ok(Served {
                heartbeat: heartbeat.summary(),
                connect: connect.summary(),
                lost,
            })
        })
    }

    async fn session(&self) -> V1Client {
        let opened = V1Client::open(self.address, "/?v=1", PacketEncoding::Plain).await;
        let mut client = opened.unwrap_or_else(|error| panic!("connecting: {error}"));
        client.next().await;
        client.identify("website", &self.key).await;
        client
    }

    /// Returns the heartbeat latencies of one client, and whether its session was lost.
    async fn beat(&self, end: Instant) -> (Vec<Duration>, bool) {
        let mut client = self.session().await;
        let mut times = Vec::new();
        while Instant::now() < end {
            let sent = Instant::now();
            let is_sent = client.try_send(json!({ "op": 10 }).to_string().into()).await.is_ok();
            if !is_sent || client.next_text().await.is_err() {
                return (times, true);
            }
            times.push(sent.elapsed());
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
        (times, false)
    }

    async fn connect(&self, end: Instant) -> Latencies {
        let mut times = Latencies::default();
        while Instant::now() < end {
            let began = Instant::now();
            let client = self.session().await;
            times.add(began.elapsed());
            client.close(1000).await;
            tokio::time::sleep(CONNECT_INTERVAL).await;
        }
        times
    }
}
