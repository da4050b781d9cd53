//! What this thread has written to sockets without their drivers, until a worker counts it.
//!
//! Such a write is a delivery, of which there are thousands for one event. So it only adds to cells of its thread.

use std::cell::Cell;

use crate::metrics::WorkerMetrics;

struct DirectWrites {
    /// Writes of which the socket took everything.
    whole: Cell<u64>,
    frames: Cell<u64>,
    bytes: Cell<u64>,
}

thread_local! {
    static WRITES: DirectWrites = const {
        DirectWrites {
            whole: Cell::new(0),
            frames: Cell::new(0),
            bytes: Cell::new(0),
        }
    };
}

/// Records a write of frames that end at `ends`, of which the socket has taken `written` bytes: everything if `is_whole`.
#[inline]
pub(super) fn record(written: usize, is_whole: bool, ends: &[usize]) {
    WRITES.with(|writes| {
        let frames = if is_whole {
            writes.whole.set(writes.whole.get() + 1);
            ends.len()
        } else {
            ends.iter().take_while(|end| **end <= written).count()
        };
        writes.frames.set(writes.frames.get() + frames as u64);
        writes.bytes.set(writes.bytes.get() + written as u64);
    });
}

/// Adds what this thread has written to the counters of its worker. What a socket has taken at once has not waited.
pub fn count_direct_writes(worker: &WorkerMetrics) {
    WRITES.with(|writes| {
        let bytes = writes.bytes.take();
        if bytes > 0 {
            worker.bytes_out.add(bytes);
            worker.frames_out.add(writes.frames.take());
            worker.write.observe_none(writes.whole.take());
        }
    });
}
