//! The faults of a proxy.

use std::{net::SocketAddr, num::NonZero, time::Duration};

/// What happens to the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrafficMode {
    /// Bytes are forwarded.
    Open,
    /// Bytes wait.
    Frozen,
    /// Bytes are discarded.
    BlackHole,
    /// Bytes are forwarded, but new connections are closed at once.
    Refused,
}

/// The faults that are in effect now.
#[derive(Debug, Clone)]
pub(super) struct ProxyFaults {
    /// The address that new connections are forwarded to.
    pub(super) target: SocketAddr,
    pub(super) traffic: TrafficMode,
    /// How long every chunk is held back.
    pub(super) delay: Duration,
    /// The limit in each direction of each connection.
    pub(super) bytes_per_second: Option<NonZero<u32>>,
    /// The most bytes of one write.
    pub(super) slice: Option<NonZero<usize>>,
    /// How often all connections were reset. A connection that was made at a lower count must end.
    pub(super) resets: u64,
}

impl ProxyFaults {
    /// Returns no faults.
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

    /// Ends every fault. Streams that lost bytes to a black hole cannot continue, so they are reset.
    pub(super) fn heal(&mut self) {
        let was_lossy = self.traffic == TrafficMode::BlackHole;
        *self = Self {
            resets: self.resets + u64::from(was_lossy),
            ..Self::none(self.target)
        };
    }

    /// Whether received bytes may leave the queue, even if only to be discarded.
    pub(super) fn is_moving(&self) -> bool {
        self.traffic != TrafficMode::Frozen
    }

    /// Whether received bytes are discarded.
    pub(super) fn is_lossy(&self) -> bool {
        self.traffic == TrafficMode::BlackHole
    }

    /// Whether a new connection is connected to the target.
    pub(super) fn connects(&self) -> bool {
        matches!(self.traffic, TrafficMode::Open | TrafficMode::Refused)
    }

    /// Returns how many of `waiting` bytes the next write may have, at least one.
    pub(super) fn portion(&self, waiting: usize) -> usize {
        // Portions of a twentieth of a second make a steady stream instead of bursts.
        let paced = self.bytes_per_second.map(|rate| (rate.get() / 20) as usize);
        let sliced = self.slice.map(NonZero::get);
        let bound = paced.into_iter().chain(sliced).min().unwrap_or(usize::MAX);
        waiting.min(bound.max(1))
    }

    /// Returns how long to pause after a write of this many bytes.
    pub(super) fn pause_after(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Duration::from_secs(1) * bytes / rate.get()
    }
}
