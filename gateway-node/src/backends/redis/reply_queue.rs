//! Replies that wait to be sent to the nodes that wait for them, and their format.
//!
//! A message is a receipt, the outcome and the data: `<receipt> <outcome>\n<d>`. Nobody can
//! make up a receipt that is awaited, unless they read the cluster's log.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use shared::v1::{Receipt, ReplyFailure};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::backplane::{Deliver, Reply, ReplyAddress};

/// The most replies in one batch of commands.
const BATCH: usize = 64;

/// The replies that have not been sent yet, bounded in bytes, each with a deadline.
pub(super) struct ReplyQueue {
    state: Mutex<ReplyQueueState>,
    filled: Notify,
    limit: usize,
    deliver: Arc<dyn Deliver>,
}

#[derive(Default)]
struct ReplyQueueState {
    queue: VecDeque<QueuedReply>,
    bytes: usize,
}

pub(super) struct QueuedReply {
    pub(super) to: ReplyAddress,
    pub(super) message: Vec<u8>,
    /// When it is sent at the earliest.
    not_before: Instant,
    until: Instant,
}

impl ReplyQueue {
    /// Creates a queue of up to `limit` bytes.
    pub(super) fn new(limit: usize, deliver: Arc<dyn Deliver>) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            limit,
            deliver,
        }
    }

    /// Queues a reply, or drops it if the queue is full.
    pub(super) fn push(&self, to: ReplyAddress, receipt: Receipt, reply: &Reply, until: Instant) {
        let message = message(receipt, reply);
        {
            let mut state = self.state.lock();
            if state.bytes + message.len() > self.limit && !state.queue.is_empty() {
                self.deliver.reply_dropped();
                return;
            }
            state.bytes += message.len();
            state.queue.push_back(QueuedReply {
                to,
                message,
                not_before: Instant::now(),
                until,
            });
        }
        self.filled.notify_one();
    }

    /// Waits for replies that can be sent now, and takes them.
    pub(super) async fn take(&self) -> Vec<QueuedReply> {
        loop {
            let filled = self.filled.notified();
            let next = {
                let now = Instant::now();
                let mut state = self.state.lock();
                let (mut batch, mut kept) = (Vec::new(), VecDeque::new());
                while let Some(reply) = state.queue.pop_front() {
                    if reply.until <= now {
                        state.bytes -= reply.message.len();
                        self.deliver.reply_dropped();
                    } else if batch.len() < BATCH && reply.not_before <= now {
                        state.bytes -= reply.message.len();
                        batch.push(reply);
                    } else {
                        kept.push_back(reply);
                    }
                }
                state.queue = kept;
                if !batch.is_empty() {
                    return batch;
                }
                state.queue.iter().map(|reply| reply.not_before).min()
            };
            tokio::select! {
                () = filled => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Queues replies again, which are sent at `not_before` at the earliest.
    pub(super) fn put_back(&self, replies: impl Iterator<Item = QueuedReply>, not_before: Instant) {
        let mut state = self.state.lock();
        for reply in replies {
            state.bytes += reply.message.len();
            state.queue.push_back(QueuedReply { not_before, ..reply });
        }
    }
}

fn message(receipt: Receipt, reply: &Reply) -> Vec<u8> {
    let (outcome, d) = match reply {
        Ok(d) => ("reply", &**d),
        Err(failure) => match failure {
            ReplyFailure::Error(error) => (failure.code(), &**error),
            ReplyFailure::Timeout | ReplyFailure::Gone | ReplyFailure::InvalidReply => (failure.code(), ""),
        },
    };
    format!("{receipt} {outcome}\n{d}").into_bytes()
}

/// Parses a message of the channel. Returns `None` if it is not a reply.
pub(super) fn read(message: &[u8]) -> Option<(Receipt, Reply)> {
    let (head, d) = str::from_utf8(message).ok()?.split_once('\n')?;
    let (receipt, outcome) = head.split_once(' ')?;
    let reply = match outcome {
        "reply" => Ok(d.into()),
        "error" => Err(ReplyFailure::Error(d.into())),
        "gone" => Err(ReplyFailure::Gone),
        "invalid_reply" => Err(ReplyFailure::InvalidReply),
        "timeout" => Err(ReplyFailure::Timeout),
        _ => return None,
    };
    Some((receipt.parse().ok()?, reply))
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };

    use tokio::time::advance;

    use super::*;
    use crate::backplane::{Entry, Owner};

    /// Counts the replies that were dropped.
    #[derive(Default)]
    struct Dropped(AtomicUsize);

    impl Deliver for Dropped {
        fn has_room(&self, _: usize) -> bool {
            true
        }

        fn wait_for_room(&self, _: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }

        fn deliver(&self, _: Entry) {}

        fn no_receiver(&self, _: &str, _: &str) {}

        fn lost(&self, _: &str, _: u64) {}

        fn gap(&self, _: &Arc<str>) {}

        fn reply_dropped(&self) {
            self.0.fetch_add(1, Relaxed);
        }

        fn superseded(&self, _: &Owner) {}
    }

    const RECEIPT: Receipt = Receipt::from_raw(0xff);

    #[test]
    fn replies_survive_a_round_trip() {
        for reply in [
            Ok(r#"{"a":"\n"}"#.into()),
            Err(ReplyFailure::Error("{}".into())),
            Err(ReplyFailure::Gone),
            Err(ReplyFailure::InvalidReply),
            Err(ReplyFailure::Timeout),
        ] {
            assert_eq!(read(&message(RECEIPT, &reply)), Some((RECEIPT, reply)));
        }
        for wrong in [
            "",
            "x",
            "x reply\n{}",
            &format!("{RECEIPT} reply"),
            &format!("{RECEIPT} x\n{{}}"),
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_in_bytes_and_age() {
        let dropped = Arc::new(Dropped::default());
        let queue = ReplyQueue::new(100, dropped.clone());
        let until = Instant::now() + Duration::from_secs(5);
        let push = |until| queue.push(ReplyAddress::from_raw(1), RECEIPT, &Ok("{}".into()), until);
        for _ in 0..3 {
            push(until);
        }
        assert_eq!(dropped.0.load(Relaxed), 1);
        assert_eq!(queue.take().await.len(), 2);
        push(until);
        push(until + Duration::from_secs(5));
        advance(Duration::from_secs(5)).await;
        assert_eq!(queue.take().await.len(), 1, "one is too late");
        assert_eq!(dropped.0.load(Relaxed), 2);
        assert_eq!(queue.state.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_received_is_sent_again_later() {
        let queue = ReplyQueue::new(1000, Arc::new(Dropped::default()));
        let now = Instant::now();
        queue.push(
            ReplyAddress::from_raw(1),
            RECEIPT,
            &Ok("{}".into()),
            now + Duration::from_secs(5),
        );
        let batch = queue.take().await;
        queue.put_back(batch.into_iter(), now + Duration::from_millis(100));
        assert_eq!(queue.take().await.len(), 1);
        assert_eq!(Instant::now(), now + Duration::from_millis(100));
    }
}
