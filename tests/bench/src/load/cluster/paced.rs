//! Latency at a constant rate: one sender at one server, and several receivers at another.

use std::{
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::super::{
    contest::{ClientPool, ClientRole, ContestTarget},
    latencies::Latencies,
};

/// How many events are sent, how often, and to how many receivers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Events per second.
    pub(super) rate: u32,
    /// Receivers.
    pub(super) receivers: u32,
    /// Size of an event's data, in bytes.
    pub(super) payload: usize,
}

impl Pace {
    /// Returns when event `number` is due, counted from the first.
    pub(super) fn due(&self, number: u32) -> Duration {
        Duration::from_secs(1) / self.rate * number
    }
}

/// The sender and the receivers.
pub(super) struct PacedClients<'a> {
    pool: ClientPool<'a>,
    pace: Pace,
    /// Number of the next event.
    next: u32,
    latencies: Latencies,
}

impl<'a> PacedClients<'a> {
    /// Connects the receivers to `to`, and the sender to the server at `from`, which speaks the same protocol.
    pub(super) fn connect(from: SocketAddr, to: &'a ContestTarget, pace: Pace) -> Result<Self> {
        let mut pool = ClientPool::new(to, pace.receivers + 1)?;
        pool.join(pace.receivers, ClientRole::Receiver)?;
        pool.set_address(from);
        pool.join(1, ClientRole::Sender)?;
        Ok(Self {
            pool,
            pace,
            next: 1,
            latencies: Latencies::default(),
        })
    }

    /// Sends events for `time` and waits until every receiver has received all of them. Fails if one is lost,
    /// duplicated or out of order.
    pub(super) fn run(&mut self, time: Duration) -> Result<()> {
        let Pace { receivers, payload, .. } = self.pace;
        let (began, first) = (Instant::now(), self.next);
        loop {
            let due = self.pace.due(self.next - first);
            if due >= time {
                break;
            }
            while let Some(rest) = due.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero()) {
                self.pool.turn(rest)?;
            }
            let number: Range<u32> = self.next..self.next + 1;
            self.pool.publish(number, payload)?;
            self.next += 1;
        }
        let expected = u64::from(self.next - first) * u64::from(receivers);
        let has_all = self.pool.turn_until(|stats| stats.deliveries >= expected)?;
        ensure!(has_all, "not all events of a paced sender have been received");
        let stats = self.pool.take();
        ensure!(
            stats.deliveries == expected && stats.disordered == 0,
            "events of a paced sender came twice or out of order"
        );
        self.latencies.extend(stats.latencies);
        Ok(())
    }

    /// Returns the latency of every event at every receiver.
    pub(super) fn into_latencies(self) -> Latencies {
        self.latencies
    }
}
