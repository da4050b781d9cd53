//! A session of another application, which only sends heartbeats.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

use super::{super::latencies::Latencies, requester::MembersConnection};

/// Time between an ACK and the next heartbeat.
const GAP: Duration = Duration::from_millis(2);

/// A session that sends heartbeats and measures their latency.
pub(super) struct HeartbeatSession(MembersConnection);

impl HeartbeatSession {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self(MembersConnection::open(address, token)?))
    }

    /// Sends heartbeats as long as `goes_on` returns true for the time elapsed. Returns the latencies and the total
    /// time.
    pub(super) fn beat_while(
        &mut self,
        mut goes_on: impl FnMut(Duration) -> Result<bool>,
    ) -> Result<(Latencies, Duration)> {
        let (start, mut latencies) = (Instant::now(), Latencies::default());
        while goes_on(start.elapsed())? {
            let sent = Instant::now();
            self.0.send(1, &Value::Null)?;
            self.0.until("\"op\":11")?;
            latencies.add(sent.elapsed());
            thread::park_timeout(GAP);
        }
        Ok((latencies, start.elapsed()))
    }
}
