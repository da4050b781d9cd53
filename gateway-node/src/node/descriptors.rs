//! File descriptors: each connection needs one.

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};

/// Descriptors reserved for anything but connections: listeners, logs, Redis, certificates that are reloaded, the
/// administration listener, and refused connections that still get a response.
const RESERVED: u64 = 80;
/// Descriptors reserved per worker: its polls and wakers.
const RESERVED_PER_WORKER: u64 = 8;

/// The descriptors available to the process.
pub(super) struct Descriptors {
    raised: Result<(u64, u64), Errno>,
    workers: usize,
}

impl Descriptors {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise(workers: usize) -> Self {
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            Ok((soft, hard))
        });
        Self { raised, workers }
    }

    /// Returns how many of `connections` fit beside the reserved descriptors.
    pub(super) fn room(&self, connections: usize) -> usize {
        let reserved = RESERVED.saturating_add(RESERVED_PER_WORKER.saturating_mul(self.workers as u64));
        let room = self.limit().map(|limit| limit.saturating_sub(reserved).max(1));
        room.and_then(|room| usize::try_from(room).ok())
            .map_or(connections, |room| room.min(connections))
    }

    /// Returns half of all descriptors.
    pub(super) fn half(&self) -> usize {
        let half = self.limit().and_then(|limit| usize::try_from(limit / 2).ok());
        half.map_or(usize::MAX, |half| half.max(1))
    }

    /// Logs how many connections there is room for.
    pub(super) fn log(&self, connections: usize) {
        match self.raised {
            Ok((soft, hard)) => {
                let room = self.room(connections);
                log::info!(soft = soft, raised_to = hard, room_for_connections = room; "descriptor limit");
            }
            Err(error) => log::warn!(cause:% = error; "the descriptor limit cannot be raised"),
        }
    }

    fn limit(&self) -> Option<u64> {
        match self.raised {
            Ok((_, hard)) => Some(hard),
            Err(_) => getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved() {
        let of = |limit| Descriptors {
            raised: Ok((limit, limit)),
            workers: 2,
        };
        assert_eq!((of(400).room(100_000), of(400).half()), (304, 200));
        assert_eq!(of(1 << 20).room(100_000), 100_000);
        assert_eq!((of(10).room(100_000), of(1).half()), (1, 1));
    }
}
