//! The queue between the code that logs and the thread that writes.
//!
//! Logging never waits for the reader of the log. A line that does not fit into the queue is dropped and counted. Once
//! there is room again, one line reports how many were dropped.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How much may wait in the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogQueueBounds {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The most lines.
    pub(super) lines: usize,
}

impl Default for LogQueueBounds {
    /// Enough for a burst while the writer sleeps. A larger queue would only hide that the log is not read.
    fn default() -> Self {
        Self {
            bytes: 256 * 1024,
            lines: 512,
        }
    }
}

/// How long the writer waits before it retries a non-blocking output that is full.
const RETRY: Duration = Duration::from_millis(10);

/// Formats the line that reports how many were dropped.
type DropLine = Box<dyn Fn(u64) -> String + Send>;

/// A bounded queue of lines with one writer thread. Clones share the queue.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<LogQueueShared>);

struct LogQueueShared {
    bounds: LogQueueBounds,
    state: Mutex<LogQueueState>,
    /// Signalled when there is something to write.
    work: Condvar,
    /// Signalled when everything has been written.
    idle: Condvar,
}

#[derive(Default)]
struct LogQueueState {
    /// Complete lines, one after the other.
    waiting: Vec<u8>,
    /// Lines that wait or are being written.
    lines: usize,
    /// Bytes that wait or are being written.
    bytes: usize,
    /// Lines dropped so far.
    dropped: u64,
    /// How many of the dropped lines have been reported.
    told: u64,
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the system cannot start a thread.
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

    /// Queues one line, which ends with a line feed, or drops and counts it. Never waits for the output.
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

    /// Returns how many lines were dropped, including those that the output did not accept.
    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Waits until everything is written, but at most for `patience`. Returns whether everything is written.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = crate::clock::monotonic() + patience;
        let mut state = self.0.lock();
        while state.lines > 0 {
            let left = deadline.saturating_duration_since(crate::clock::monotonic());
            if left.is_zero() {
                return false;
            }
            let _ = self.0.idle.wait_for(&mut state, left);
        }
        true
    }
}

impl LogQueueShared {
    fn lock(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock()
    }

    /// Writes queued lines for as long as the process runs.
    fn write(&self, mut out: impl Write, drop_line: &DropLine) {
        let mut batch = Vec::new();
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                self.idle.notify_all();
                self.work.wait(&mut state);
            }
            std::mem::swap(&mut state.waiting, &mut batch);
            drop(state);
            let lost = lines(write_all(&mut out, &batch));
            state = self.lock();
            state.dropped += lost as u64;
            let untold = state.dropped - state.told;
            // An output that has just failed would fail for this line, too.
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

/// Writes `bytes`. Returns those that the output did not accept.
fn write_all<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process has made the shared output non-blocking. This thread has nothing else to do.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            Err(_) => break,
        }
    }
    // If the output cannot be flushed, there is no way left to report it.
    let _ = out.flush();
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// An output that passes each write to the test and blocks until the test supplies the result.
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
    fn a_full_queue_drops_lines_and_reports_the_count_once() {
        let (queue, seen, answer) = held(LogQueueBounds { bytes: 1024, lines: 4 });
        queue.push(b"0\n");
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "0\n");
        // From here on the writer is blocked, but `push` is not.
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
        assert!(seen.try_recv().is_err(), "the dropped lines were reported already");
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
    fn a_blocked_output_does_not_block_flush() {
        let (queue, seen, answer) = held(LogQueueBounds::default());
        queue.push(b"last words\n");
        seen.recv_timeout(LONG).unwrap();
        assert!(!queue.flush(Duration::from_millis(1)));
        answer.send(Ok(())).unwrap();
        assert!(queue.flush(LONG));
    }

    #[test]
    fn lines_lost_to_a_write_error_are_reported_later() {
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
    fn a_write_that_would_block_is_retried() {
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
