//! One core for the node and another for its clients, so that neither takes CPU time from the other.

use std::thread;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The cores used in one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    /// The core of the node.
    pub(super) node: usize,
    /// The core of the thread that runs the clients.
    pub(super) clients: usize,
}

impl Cores {
    /// Returns the first two cores that this thread may run on, or `None` if there is only one.
    pub(super) fn choose() -> Result<Option<Self>> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("reading the CPU affinity")?;
        let mut usable = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        Ok(usable
            .next()
            .zip(usable.next())
            .map(|(node, clients)| Self { node, clients }))
    }
}

/// Pins the calling thread, and every thread and process it starts from now on, to one core.
pub(super) fn pin_thread(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to core {core}"))
}

/// Runs `work` on a new thread, so that the calling thread is not pinned to a core.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
