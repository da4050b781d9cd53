//! The replies that this node waits for.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use shared::v1::Receipt;
use tokio::sync::oneshot;

use crate::backplane::Reply;

/// The replies that this node waits for, by receipt. Clones share them. Bounded by the requests that each session and each
/// key may have in flight.
#[derive(Debug, Clone, Default)]
pub struct PendingReplies(Arc<Mutex<FxHashMap<Receipt, oneshot::Sender<Reply>>>>);

impl PendingReplies {
    /// Starts to wait for the reply with this receipt.
    pub(super) fn expect(&self, receipt: Receipt) -> PendingReply {
        let (sender, reply) = oneshot::channel();
        self.0.lock().insert(receipt, sender);
        PendingReply {
            pending: self.clone(),
            receipt,
            reply,
        }
    }

    /// Passes a reply to whoever waits for it. Only the first one counts.
    pub fn settle(&self, receipt: Receipt, reply: Reply) {
        let waiting = self.0.lock().remove(&receipt);
        if let Some(waiting) = waiting {
            // Whoever has stopped waiting has decided the outcome otherwise.
            let _ = waiting.send(reply);
        }
    }
}

/// A reply that someone waits for. Dropping it ends the wait.
pub(super) struct PendingReply {
    pending: PendingReplies,
    receipt: Receipt,
    reply: oneshot::Receiver<Reply>,
}

impl PendingReply {
    /// Waits for the reply, however long that takes.
    pub(super) async fn wait(&mut self) -> Reply {
        match (&mut self.reply).await {
            Ok(reply) => reply,
            // Only `settle` takes the sender out, and it sends.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.receipt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reply_counts_and_nothing_is_left() {
        let pending = PendingReplies::default();
        let [one, other] = [1, 2].map(Receipt::from_raw);
        let (mut first, second) = (pending.expect(one), pending.expect(other));
        pending.settle(one, Ok("1".into()));
        pending.settle(one, Ok("2".into()));
        assert_eq!(first.wait().await, Ok("1".into()));
        drop((first, second));
        assert!(pending.0.lock().is_empty());
        // A reply that nobody waits for is dropped.
        pending.settle(other, Ok("3".into()));
        assert!(pending.0.lock().is_empty());
    }
}
