//! What all receivers of a run have had, where the senders see it: nobody sends more than a window ahead of the slowest.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long the slowest receiver may take for the next event.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The heights of all receivers.
pub(super) struct SendWindow {
    state: Mutex<WindowState>,
    changed: Condvar,
    /// Events that a sender may be ahead.
    window: u64,
}

struct WindowState {
    /// By receiver and sender, one more than the number of the highest event that was received.
    heights: Vec<Vec<u64>>,
    progress: SendProgress,
}

/// How far the senders are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendProgress {
    /// They go on.
    Running,
    /// They have stopped after so many events each.
    Finished(Vec<u64>),
    /// One of them has failed.
    Failed,
}

impl SendWindow {
    /// A board that shows these heights.
    pub(super) fn new(heights: Vec<Vec<u64>>, window: u64) -> Self {
        let progress = SendProgress::Running;
        Self {
            state: Mutex::new(WindowState { heights, progress }),
            changed: Condvar::new(),
            window,
        }
    }

    /// Notes what a receiver has had, and says how far the senders are.
    pub(super) fn record(&self, receiver: usize, heights: impl Iterator<Item = u64>) -> SendProgress {
        let mut state = self.lock();
        for (height, new) in state.heights[receiver].iter_mut().zip(heights) {
            *height = new;
        }
        self.changed.notify_all();
        state.progress.clone()
    }

    /// Waits until a sender that has sent so many events may send `least` more, and says how many it may.
    pub(super) fn wait_for_room(&self, sender: usize, sent: u64, least: u64) -> Result<u64> {
        let deadline = Instant::now() + STALL_TIMEOUT;
        let mut state = self.lock();
        loop {
            let lowest = state.heights.iter().map(|heights| heights[sender]).min();
            let room = (lowest.unwrap_or(sent) + self.window).saturating_sub(sent);
            if room >= least.min(self.window) {
                return Ok(room);
            }
            if state.progress != SendProgress::Running || Instant::now() >= deadline {
                bail!("sender {sender} has sent {sent} events, and not all of them have come");
            }
            let waited = self.changed.wait_timeout(state, STALL_TIMEOUT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says how far the senders are.
    pub(super) fn set_progress(&self, progress: SendProgress) {
        self.lock().progress = progress;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
