//! The bounded channel in which messages of a log's channel wait for its follower.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// The maximum number of messages queued for a follower. Further messages are dropped, and the entries are read from
/// the log later.
const MESSAGES: usize = 8192;

/// The sending end of the bounded queue of channel messages.
#[derive(Clone)]
pub(in crate::backends::redis) struct LogSender {
    messages: mpsc::Sender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

/// The receiving end of the queue.
pub(in crate::backends::redis) struct LogReceiver {
    pub(super) messages: mpsc::Receiver<Vec<u8>>,
    pub(super) bytes: Arc<AtomicUsize>,
}

/// Creates a queue of messages, bounded to about `limit` bytes.
pub(in crate::backends::redis) fn channel(limit: usize) -> (LogSender, LogReceiver) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    let log_sender = LogSender {
        messages: sender,
        bytes: Arc::clone(&bytes),
        limit,
    };
    let messages = receiver;
    (log_sender, LogReceiver { messages, bytes })
}

impl LogSender {
    /// Queues a message, or drops it if the queue is full.
    pub(in crate::backends::redis) fn push(&self, message: Vec<u8>) {
        let size = message.len();
        if self.bytes.load(Ordering::Relaxed) < self.limit && self.messages.try_send(message).is_ok() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
    }
}
