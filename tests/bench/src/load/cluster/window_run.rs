//! Senders that publish as fast as the send window allows, and receivers that follow them.

use std::{
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    receiver::EventReceiver,
    send_window::{SendProgress, SendWindow},
    sender::ClusterSender,
};

/// What a run has achieved.
#[derive(Debug)]
pub(super) struct WindowRun {
    /// Events sent, and received by every receiver.
    pub(super) events: u64,
    /// From the first event to the last receipt.
    pub(super) time: Duration,
}

impl WindowRun {
    /// Lets `senders` publish for `time`, each at most `window` events ahead of the slowest receiver, and waits until
    /// every receiver has received everything. `sent` is how many events each sender has sent so far, including those
    /// that do not take part.
    pub(super) fn new(
        senders: &mut [ClusterSender],
        receivers: &mut [EventReceiver],
        mut sent: Vec<u64>,
        window: u64,
        time: Duration,
    ) -> Result<Self> {
        let sent_before: u64 = sent.iter().sum();
        let heights = receivers.iter().map(EventReceiver::heights).collect();
        let window = &SendWindow::new(heights, window);
        let began = Instant::now();
        let last = thread::scope(|scope| {
            let following: Vec<_> = receivers
                .iter_mut()
                .enumerate()
                .map(|(number, receiver)| scope.spawn(move || receiver.follow(number, window)))
                .collect();
            let has_sent = send(senders, began + time, window);
            for sender in senders {
                sent[sender.source.number] = sender.source.sent;
            }
            window.set_progress(match has_sent {
                Ok(()) => SendProgress::Finished(sent.clone()),
                Err(_) => SendProgress::Failed,
            });
            let last = all(following)?;
            has_sent?;
            last.into_iter().max().context("there are no receivers")
        })?;
        Ok(Self {
            events: sent.iter().sum::<u64>() - sent_before,
            time: last.saturating_duration_since(began),
        })
    }
}

/// Lets all senders publish until `until`.
fn send(senders: &mut [ClusterSender], until: Instant, window: &SendWindow) -> Result<()> {
    thread::scope(|scope| {
        let sending = senders.iter_mut();
        let sending = sending.map(|sender| scope.spawn(move || sender.run(until, window)));
        all(sending.collect()).map(|_| ())
    })
}

/// Joins all threads and returns their results, or the first error.
fn all<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    let ended = ended.into_iter();
    ended
        .map(|end| end.map_err(|_| anyhow!("a thread has panicked"))?)
        .collect()
}
