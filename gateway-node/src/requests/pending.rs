//! The replies that this node waits for.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use shared::v1::Receipt;
use tokio::sync::{mpsc, oneshot};

use crate::backplane::Reply;

/// The most replies to one question that wait to be read. A cluster has fewer nodes.
const REPLIES: usize = 1024;

/// The replies that this node waits for, by receipt. Clones share them. Bounded by the requests that each session and each
/// key may have in flight.
#[derive(Debug, Clone, Default)]
pub struct PendingReplies(Arc<Mutex<FxHashMap<Receipt, Waiting>>>);

/// The waiting side of a receipt: where its reply goes, or its replies.
#[derive(Debug)]
enum Waiting {
    /// The sender of a request, for one reply.
    Requester(oneshot::Sender<Reply>),
    /// This node itself, for the replies of all nodes.
    Node(mpsc::Sender<Reply>),
}

impl PendingReplies {
    /// Starts to wait for the reply with this receipt.
    pub(super) fn expect(&self, receipt: Receipt) -> PendingReply {
        let (sender, reply) = oneshot::channel();
        self.0.lock().insert(receipt, Waiting::Requester(sender));
        PendingReply {
            reply,
            _registered: self.registered(receipt),
        }
    }

    /// Starts to wait for the replies of all nodes with this receipt.
    pub fn expect_all(&self, receipt: Receipt) -> NodeReplies {
        let (sender, replies) = mpsc::channel(REPLIES);
        self.0.lock().insert(receipt, Waiting::Node(sender));
        NodeReplies {
            replies,
            _registered: self.registered(receipt),
        }
    }

    fn registered(&self, receipt: Receipt) -> Registered {
        Registered {
            pending: self.clone(),
            receipt,
        }
    }

    /// Passes a reply to whoever waits for it. Only the first one counts to a request.
    pub fn settle(&self, receipt: Receipt, reply: Reply) {
        let mut pending = self.0.lock();
        if let Some(Waiting::Node(replies)) = pending.get(&receipt) {
            // A node that has as many replies as it can hold counts its question as incomplete.
            let _ = replies.try_send(reply);
        } else if let Some(Waiting::Requester(waiting)) = pending.remove(&receipt) {
            // Whoever has stopped waiting has decided the outcome otherwise.
            let _ = waiting.send(reply);
        }
    }
}

/// A reply that someone waits for. Dropping it ends the wait.
pub(super) struct PendingReply {
    reply: oneshot::Receiver<Reply>,
    _registered: Registered,
}

/// The replies of all nodes to a question. Dropping it ends the wait.
pub struct NodeReplies {
    replies: mpsc::Receiver<Reply>,
    _registered: Registered,
}

impl NodeReplies {
    /// Waits for the next reply, however long that takes. The reply may be an error of its node.
    #[allow(clippy::missing_errors_doc, reason = "the result is the reply, not that of the wait")]
    pub async fn next(&mut self) -> Reply {
        match self.replies.recv().await {
            Some(reply) => reply,
            // The sender is kept as long as this is.
            None => std::future::pending().await,
        }
    }
}

/// An entry in the table of those who wait. Dropping it removes the entry.
struct Registered {
    pending: PendingReplies,
    receipt: Receipt,
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

impl Drop for Registered {
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
    #[tokio::test]
    async fn a_question_to_all_nodes_gets_every_reply() {
        let pending = PendingReplies::default();
        let receipt = Receipt::from_raw(1);
        let mut replies = pending.expect_all(receipt);
        pending.settle(receipt, Ok("1".into()));
        pending.settle(receipt, Ok("2".into()));
        assert_eq!(replies.next().await, Ok("1".into()));
        assert_eq!(replies.next().await, Ok("2".into()));
        drop(replies);
        assert!(pending.0.lock().is_empty());
    }
}
