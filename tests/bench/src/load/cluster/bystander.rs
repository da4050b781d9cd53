//! A node of the cluster that has a session, but none that receives the events.

use std::{
    net::SocketAddr,
    path::Path,
    thread::park_timeout,
    time::{Duration, Instant},
};

use anyhow::Result;
use gateway_harness::key;

use super::{
    super::{blocking_session::BlockingSession, gateway::Gateway, http::Http},
    sender::Source,
    servers::ClusterServers,
};

/// Events per second.
const RATE: f64 = 5000.0;
/// Events per HTTP request.
const BATCH: u32 = 10;

/// How long the node has to read the last events.
const REST: Duration = Duration::from_millis(500);

/// A node that follows the log because of a website client, which receives no event of the run.
pub(super) struct Bystander {
    node: Gateway,
    _session: BlockingSession,
}

impl Bystander {
    /// Starts the node and its session.
    pub(super) fn start(binary: &Path, servers: &ClusterServers) -> Result<Self> {
        let node = servers.another_node(binary)?;
        let session = BlockingSession::open(node.address, "website", &key("website"))?;
        Ok(Self {
            node,
            _session: session,
        })
    }

    /// Publishes events on another node for `time`, at a constant rate. Returns the CPU microseconds of this node for each,
    /// without those that it uses in the same time when there are none.
    pub(super) fn measure(&self, sender: SocketAddr, source: &mut Source, time: Duration) -> Result<f64> {
        let before = self.node.usage()?;
        wait_until(Instant::now() + time + REST);
        let idle = self.node.usage()?;
        let mut http = Http::connect(sender, &key("service"))?;
        let (began, mut events) = (Instant::now(), 0);
        while began.elapsed() < time {
            let due = Duration::from_secs_f64(f64::from(events) / RATE);
            wait_until(began + due);
            let batch: Vec<_> = (0..BATCH).map(|_| source.next()).collect();
            http.publish(&format!("[{}]", batch.join(",")))?;
            events += BATCH;
        }
        wait_until(Instant::now() + REST);
        let after = self.node.usage()?;
        let used = after.cpu_us_since(&idle) - idle.cpu_us_since(&before);
        Ok(used / f64::from(events.max(1)))
    }
}

/// Waits until `moment`.
pub(super) fn wait_until(moment: Instant) {
    while let Some(rest) = moment.checked_duration_since(Instant::now())
        && !rest.is_zero()
    {
        park_timeout(rest);
    }
}
