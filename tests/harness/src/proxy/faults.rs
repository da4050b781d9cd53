//! What goes on in a proxy.

use std::{net::SocketAddr, num::NonZero, time::Duration};

/// Whether bytes pass at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrafficMode {
    /// They do.
    Open,
    /// They wait.
    Frozen,
    /// They are thrown away.
    BlackHole,
    /// They do, but nobody new is let in.
    Refused,
}

/// The faults of this moment.
#[derive(Debug, Clone)]
pub(super) struct ProxyFaults {
    /// Where new connections lead to.
    pub(super) target: SocketAddr,
    pub(super) traffic: TrafficMode,
    /// How long every chunk is held back.
    pub(super) delay: Duration,
    /// The most that passes, in each direction of each connection.
    pub(super) bytes_per_second: Option<NonZero<u32>>,
    /// The most bytes of one write.
    pub(super) slice: Option<NonZero<usize>>,
    /// How often all connections were cut. One that was made at a lower number has to go.
    pub(super) resets: u64,
}

impl ProxyFaults {
    /// No fault.
    pub(super) fn none(target: SocketAddr) -> Self {
        Self {
            target,
            traffic: TrafficMode::Open,
            delay: Duration::ZERO,
            bytes_per_second: None,
            slice: None,
            resets: 0,
        }
    }

    /// Ends every fault. Streams that lack what a black hole took cannot go on.
    pub(super) fn heal(&mut self) {
        let was_lossy = self.traffic == TrafficMode::BlackHole;
        *self = Self {
            resets: self.resets + u64::from(was_lossy),
            ..Self::none(self.target)
        };
    }

    /// Whether what has arrived may go on, be it to nowhere.
    pub(super) fn is_moving(&self) -> bool {
        self.traffic != TrafficMode::Frozen
    }

    /// Whether bytes that arrive are thrown away.
    pub(super) fn is_lossy(&self) -> bool {
        self.traffic == TrafficMode::BlackHole
    }

    /// Whether a connection reaches the other side.
    pub(super) fn connects(&self) -> bool {
        matches!(self.traffic, TrafficMode::Open | TrafficMode::Refused)
    }

    /// How many of `waiting` bytes the next write may have, at least one.
    pub(super) fn portion(&self, waiting: usize) -> usize {
        // A twentieth of a second at a time makes a stream of what would be bursts.
        let paced = self.bytes_per_second.map(|rate| (rate.get() / 20) as usize);
        let sliced = self.slice.map(NonZero::get);
        let bound = paced.into_iter().chain(sliced).min().unwrap_or(usize::MAX);
        waiting.min(bound.max(1))
    }

    /// How long nothing may follow a write of so many bytes.
    pub(super) fn pause_after(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Duration::from_secs(1) * bytes / rate.get()
    }
}
