//! What goes on in a proxy.

use std::{net::SocketAddr, num::NonZero, time::Duration};

/// Whether bytes pass at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
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
pub(super) struct Weather {
    /// Where new connections lead to.
    pub(super) target: SocketAddr,
    pub(super) passage: Passage,
    /// How long every chunk is held back.
    pub(super) delay: Duration,
    /// The most that passes, in each direction of each connection.
    pub(super) bytes_per_second: Option<NonZero<u32>>,
    /// The most bytes of one write.
    pub(super) slice: Option<NonZero<usize>>,
    /// How often all connections were cut. One that was made at a lower number has to go.
    pub(super) resets: u64,
}

impl Weather {
    /// No fault.
    pub(super) fn fair(target: SocketAddr) -> Self {
        Self {
            target,
            passage: Passage::Open,
            delay: Duration::ZERO,
            bytes_per_second: None,
            slice: None,
            resets: 0,
        }
    }

    /// Ends every fault. Streams that lack what a black hole took cannot go on.
    pub(super) fn heal(&mut self) {
        let was_lossy = self.passage == Passage::BlackHole;
        *self = Self {
            resets: self.resets + u64::from(was_lossy),
            ..Self::fair(self.target)
        };
    }

    /// Whether what has arrived may go on, be it to nowhere.
    pub(super) fn is_moving(&self) -> bool {
        self.passage != Passage::Frozen
    }

    /// Whether bytes that arrive are thrown away.
    pub(super) fn is_lossy(&self) -> bool {
        self.passage == Passage::BlackHole
    }

    /// Whether a connection reaches the other side.
    pub(super) fn connects(&self) -> bool {
        matches!(self.passage, Passage::Open | Passage::Refused)
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
