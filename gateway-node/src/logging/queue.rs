//! The queue between those who log and the thread that writes.
//!
//! Logging never waits for whoever reads the log. A line that does not fit into the queue is dropped and counted, and one
//! line says how many were once there is room again.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How much may wait to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogQueueBounds {
    /// Bytes.
    pub(super) bytes: usize,
    /// Lines.
    pub(super) lines: usize,
}

impl Default for LogQueueBounds {
    /// Enough for a burst while the writer is asleep. More would only hide that nobody reads.
    fn default() -> Self {
        Self {
            bytes: 256 * 1024,
            lines: 512,
        }
    }
}

/// How long the writer waits when the output is non-blocking and full.
const RETRY: Duration = Duration::from_millis(10);

/// Makes the line that tells how many were dropped.
type DropLine = Box<dyn Fn(u64) -> String + Send>;

/// A bounded queue of lines with one writer thread. Clones share it.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<LogQueueShared>);

struct LogQueueShared {
    bounds: LogQueueBounds,
    state: Mutex<LogQueueState>,
    /// There is something to write.
    work: Condvar,
    /// Everything has been written.
    idle: Condvar,
}

#[derive(Default)]
struct LogQueueState {
    /// Whole lines, one after the other.
    waiting: Vec<u8>,
    /// Lines and bytes that wait or are being written.
    lines: usize,
    bytes: usize,
    /// Lines dropped in all, and how many of them a line has told.
    dropped: u64,
    told: u64,
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        bounds: LogQueueBounds,
        out: impl Write + Send + 'static,
        drop_line: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::new(LogQueueShared {
            bounds,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
        }));
        let shared = Arc::clone(&queue.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write(out, &(Box::new(drop_line) as DropLine)))?;
        Ok(queue)
    }

    /// Queues one line with its line feed, or drops and counts it. Never waits for the output.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        let fits = state.lines < self.0.bounds.lines && state.bytes + line.len() <= self.0.bounds.bytes;
        if !fits {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        state.bytes += line.len();
        drop(state);
        self.0.work.notify_one();
    }

    /// How many lines were dropped, those included that the output did not take.
    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Waits until everything is written, at most for `patience`. Returns whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        while state.lines > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .0
                .idle
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl LogQueueShared {
    fn lock(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued, for as long as the process runs.
    fn write(&self, mut out: impl Write, drop_line: &DropLine) {
        let mut batch = Vec::new();
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                self.idle.notify_all();
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut state.waiting, &mut batch);
            drop(state);
            let lost = lines(write_all(&mut out, &batch));
            state = self.lock();
            state.dropped += lost as u64;
            let untold = state.dropped - state.told;
            // An output that has just taken nothing would not take this line either.
            if lost == 0 && untold > 0 {
                drop(state);
                let is_told = write_all(&mut out, drop_line(untold).as_bytes()).is_empty();
                state = self.lock();
                state.told += if is_told { untold } else { 0 };
            }
            state.lines -= lines(&batch);
            state.bytes -= batch.len();
            batch.clear();
        }
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.split(|&byte| byte == b'\n').count() - 1
}

/// Writes all of `bytes`. Returns what the output did not take.
fn write_all<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody else has made the output non-blocking. This thread has nothing else to do.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            Err(_) => break,
        }
    }
    // Nobody is left to tell when the output cannot be flushed.
    let _ = out.flush();
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// An output that hands over what it is given, and takes it only when it is told how that ends.
    struct LogQueueGuard {
        given: Sender<String>,
        answers: Receiver<io::Result<()>>,
    }

    impl Write for LogQueueGuard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.given.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            self.answers.recv().unwrap_or(Ok(())).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn held(bounds: LogQueueBounds) -> (LogQueue, Receiver<String>, Sender<io::Result<()>>) {
        let ((given, seen), (answer, answers)) = (channel(), channel());
        let queue = LogQueue::start(bounds, LogQueueGuard { given, answers }, |count| {
            format!("dropped {count}\n")
        })
        .unwrap();
        (queue, seen, answer)
    }

    #[test]
    fn a_full_queue_drops_and_tells_once_how_many() {
        let (queue, seen, answer) = held(LogQueueBounds { bytes: 1024, lines: 4 });
        queue.push(b"0\n");
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "0\n");
        // The writer is stuck from here on; callers are not.
        for number in 1..10 {
            queue.push(format!("{number}\n").as_bytes());
        }
        assert_eq!(queue.dropped(), 6);
        for _ in 0..3 {
            answer.send(Ok(())).unwrap();
        }
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "dropped 6\n");
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "1\n2\n3\n");
        assert!(queue.flush(LONG));
        queue.push(b"10\n");
        drop(answer);
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "10\n");
        assert!(queue.flush(LONG));
        assert!(seen.try_recv().is_err(), "the drops were told already");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (queue, seen, _answer) = held(LogQueueBounds { bytes: 8, lines: 100 });
        queue.push(b"0\n");
        seen.recv_timeout(LONG).unwrap();
        queue.push(b"12345\n");
        queue.push(b"6\n");
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_stuck_output_does_not_hold_a_flush() {
        let (queue, seen, answer) = held(LogQueueBounds::default());
        queue.push(b"last words\n");
        seen.recv_timeout(LONG).unwrap();
        assert!(!queue.flush(Duration::from_millis(1)));
        answer.send(Ok(())).unwrap();
        assert!(queue.flush(LONG));
    }

    #[test]
    fn what_a_broken_output_refuses_is_counted_and_told_later() {
        let (queue, seen, answer) = held(LogQueueBounds::default());
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"0\n");
        assert!(queue.flush(LONG));
        assert_eq!(queue.dropped(), 1);
        drop(answer);
        queue.push(b"1\n");
        assert!(queue.flush(LONG));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["0\n", "1\n", "dropped 1\n"]);
    }

    #[test]
    fn an_output_that_would_block_is_tried_again() {
        let (queue, seen, answer) = held(LogQueueBounds::default());
        answer.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
        answer.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
        answer.send(Ok(())).unwrap();
        queue.push(b"0\n");
        assert!(queue.flush(LONG));
        assert_eq!(queue.dropped(), 0);
        assert_eq!(seen.try_iter().count(), 3);
    }
}
