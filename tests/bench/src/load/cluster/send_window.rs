//! Flow control: a sender may be at most a window of events ahead of the slowest receiver.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long the slowest receiver may take for the next event.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What all receivers have received, and how many events a sender may send now.
pub(super) struct SendWindow {
    state: Mutex<WindowState>,
    changed: Condvar,
    /// How many events a sender may be ahead.
    window: u64,
}

struct WindowState {
    /// By receiver and sender: one more than the highest number received.
    heights: Vec<Vec<u64>>,
    progress: SendProgress,
}

/// Whether the senders are still running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendProgress {
    /// They are sending.
    Running,
    /// They have stopped; each has sent this many events in total.
    Finished(Vec<u64>),
    /// A sender or a receiver has failed.
    Failed,
}

impl SendWindow {
    /// Creates a window that starts at these heights.
    pub(super) fn new(heights: Vec<Vec<u64>>, window: u64) -> Self {
        let progress = SendProgress::Running;
        Self {
            state: Mutex::new(WindowState { heights, progress }),
            changed: Condvar::new(),
            window,
        }
    }

    /// Records what a receiver has received. Returns the progress of the senders.
    pub(super) fn record(&self, receiver: usize, heights: impl Iterator<Item = u64>) -> SendProgress {
        let mut state = self.lock();
        for (height, new) in state.heights[receiver].iter_mut().zip(heights) {
            *height = new;
        }
        self.changed.notify_all();
        state.progress.clone()
    }

    /// Waits until a sender that has sent `sent` events may send `least` more. Returns how many it may send.
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
                bail!("sender {sender} has sent {sent} events, and not all of them have been received");
            }
            let waited = self.changed.wait_timeout(state, STALL_TIMEOUT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sets the progress of the senders.
    pub(super) fn set_progress(&self, progress: SendProgress) {
        self.lock().progress = progress;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
