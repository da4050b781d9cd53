//! Background threads: one publishes announcements at a steady pace, one watches a counter of the node.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{announcement::Announcement, http::Http};

/// A thread that works until it is told to stop.
pub(super) struct Worker<T> {
    stop: Sender<()>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(work: impl FnOnce(Receiver<()>) -> Result<T> + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || work(stopped));
        Self { stop, thread }
    }

    /// Returns whether the thread has ended on its own, which happens only on failure.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops the thread and returns its result.
    pub(super) fn stop(self) -> Result<T> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow!("a thread has panicked"))?
    }
}

/// The rate and size of published events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Interval between two events.
    pub(super) gap: Duration,
    /// Bytes of the smallest `d`.
    pub(super) least: usize,
    /// Bytes of the largest `d`.
    pub(super) most: usize,
}

impl Pace {
    /// Returns the size of event `number`. The sizes cover the whole range in a mixed order that is the same in every
    /// run.
    fn bytes(&self, number: u32) -> usize {
        const STEP: usize = 1024;
        let steps = (self.most - self.least) / STEP + 1;
        self.least + (number as usize * 37) % steps * STEP
    }
}

/// Publishes announcements numbered from `first`, stamped with the time since `origin`. The worker returns the number
/// after the last one.
pub(super) fn publish(mut http: Http, first: u32, pace: Pace, origin: Instant) -> Worker<u32> {
    Worker::start(move |stopped| {
        let mut due = Instant::now();
        for number in first.. {
            let sent_us = u64::try_from(origin.elapsed().as_micros())?;
            http.publish(&Announcement { number, sent_us }.event(pace.bytes(number)))?;
            due += pace.gap;
            if !wait_until(&stopped, due) {
                return Ok(number + 1);
            }
        }
        Err(anyhow!("the numbers have run out"))
    })
}

/// How many sessions the node had ended with a given close code, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndedSample {
    /// When the counter was read.
    pub(super) at: Instant,
    /// Sessions ended so far.
    pub(super) ended: u32,
}

/// Reads every `gap` how many sessions the node has ended with `code`, and sends a sample whenever the count changes.
pub(super) fn watch(mut http: Http, code: u16, gap: Duration) -> (Worker<()>, Receiver<EndedSample>) {
    let (samples, receiver) = channel();
    let name = format!("utilbot_sessions_ended_total{{code=\"{code}\"}} ");
    let worker = Worker::start(move |stopped| {
        let mut known = None;
        loop {
            let at = Instant::now();
            let metrics = http.metrics()?;
            let value = metrics.lines().find_map(|line| line.strip_prefix(&*name));
            let ended = value.map_or(Ok(0), str::parse)?;
            if known.replace(ended) != Some(ended) && samples.send(EndedSample { at, ended }).is_err() {
                return Ok(());
            }
            if !wait_until(&stopped, at + gap) {
                return Ok(());
            }
        }
    });
    (worker, receiver)
}

/// Waits until `due`. Returns `false` if the worker is told to stop.
fn wait_until(stopped: &Receiver<()>, due: Instant) -> bool {
    let timeout = due.saturating_duration_since(Instant::now());
    stopped.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout)
}
