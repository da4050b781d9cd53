//! A session of another application that does nothing but beat.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

use super::{super::latencies::Latencies, requester::MembersConnection};

/// The time from an answer to the next heartbeat.
const GAP: Duration = Duration::from_millis(2);

/// The session.
pub(super) struct HeartbeatSession(MembersConnection);

impl HeartbeatSession {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self(MembersConnection::open(address, token)?))
    }

    /// Beats as long as this is true of the time that has passed. Returns how long each answer took, and the time.
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
