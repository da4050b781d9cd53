//! Ids of sessions: unique in the cluster without asking anybody for each one.
//!
//! An id is `milliseconds since 2020-01-01 UTC (41 bits) | worker (10 bits) | sequence (12 bits)`: 63 bits, so that it
//! stays positive as an `i64`. The cluster grants a worker number for a window of time, and windows of one number never
//! overlap; a generator that issues ids of its own window only can therefore never repeat another's.

use crate::session_id::SessionId;

/// The zero of an id's time: 2020-01-01T00:00:00Z in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_577_836_800_000;
/// The highest worker number.
pub const MAX_WORKER: u16 = (1 << WORKER_BITS) - 1;

const WORKER_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const MAX_SEQUENCE: u16 = (1 << SEQUENCE_BITS) - 1;
const TIME_BITS: u32 = 63 - WORKER_BITS - SEQUENCE_BITS;
/// The first Unix millisecond that no longer fits (in 2089).
const END_MS: u64 = EPOCH_MS + (1 << TIME_BITS);

/// The time for which a worker number is granted: `start_ms <= t < end_ms`, in Unix milliseconds of the clock that
/// grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first millisecond of the window.
    pub start_ms: u64,
    /// The first millisecond after the window.
    pub end_ms: u64,
}

impl Window {
    /// Whether `ms` is inside.
    pub const fn contains(self, ms: u64) -> bool {
        self.start_ms <= ms && ms < self.end_ms
    }
}

/// Why there is no generator, or no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnowflakeError {
    /// The worker number does not fit ten bits.
    #[error("worker number {worker} is over {MAX_WORKER}")]
    Worker {
        /// The number.
        worker: u16,
    },
    /// The window is empty, or not within the years that an id can tell (2020 to 2089).
    #[error(
        "the window from {} to {} ms is empty or outside of {EPOCH_MS} to {END_MS} ms",
        window.start_ms,
        window.end_ms
    )]
    Window {
        /// The window.
        window: Window,
    },
    /// The time is outside of the window: an id could be somebody else's.
    #[error("{now_ms} ms is outside of the granted window")]
    OutsideWindow {
        /// The time, in Unix milliseconds.
        now_ms: u64,
    },
    /// The ids left in the window have run out, 4096 for each millisecond.
    #[error("the granted window has no ids left")]
    Exhausted,
}

/// Issues the ids of one worker number.
#[derive(Debug)]
pub struct Generator {
    worker: u16,
    window: Window,
    /// The time of the latest id; never goes back, whatever the clock does.
    last_ms: u64,
    /// The sequence number of the next id at `last_ms`; `MAX_SEQUENCE + 1` when that millisecond is used up.
    sequence: u16,
}

impl Generator {
    /// A generator for a worker number from 0 to [`MAX_WORKER`] and the window for which it is granted.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::Worker`] and [`SnowflakeError::Window`] where an id could not hold them.
    pub fn new(worker: u16, window: Window) -> Result<Self, SnowflakeError> {
        if worker > MAX_WORKER {
            return Err(SnowflakeError::Worker { worker });
        }
        Ok(Self {
            worker,
            window: validated(window)?,
            last_ms: 0,
            sequence: 0,
        })
    }

    /// Takes the window of a renewed grant of the same worker number. Ids go on from the latest one.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::Window`]; the old window stays.
    pub fn renew(&mut self, window: Window) -> Result<(), SnowflakeError> {
        self.window = validated(window)?;
        Ok(())
    }

    /// The next id, higher than every one before it. `now_ms` is Unix time of the clock that granted the window.
    ///
    /// Within the window the clock may stand still or go back: ids then go on from the highest time seen, and from the
    /// millisecond after it once its 4096 are used.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::OutsideWindow`] for a time outside of the window, [`SnowflakeError::Exhausted`] when going on
    /// would leave it.
    pub fn next(&mut self, now_ms: u64) -> Result<SessionId, SnowflakeError> {
        if !self.window.contains(now_ms) {
            return Err(SnowflakeError::OutsideWindow { now_ms });
        }
        let (ms, sequence) = if now_ms > self.last_ms {
            (now_ms, 0)
        } else if self.sequence <= MAX_SEQUENCE {
            (self.last_ms, self.sequence)
        } else {
            (self.last_ms + 1, 0)
        };
        // The highest time seen may lie beyond a window that a renewal shortened.
        if !self.window.contains(ms) {
            return Err(SnowflakeError::Exhausted);
        }
        self.last_ms = ms;
        self.sequence = sequence + 1;
        let time = (ms - EPOCH_MS) << (WORKER_BITS + SEQUENCE_BITS);
        let worker = u64::from(self.worker) << SEQUENCE_BITS;
        Ok(SessionId::from_raw(time | worker | u64::from(sequence)))
    }
}

fn validated(window: Window) -> Result<Window, SnowflakeError> {
    let Window { start_ms, end_ms } = window;
    if EPOCH_MS <= start_ms && start_ms < end_ms && end_ms <= END_MS {
        Ok(window)
    } else {
        Err(SnowflakeError::Window { window })
    }
}
