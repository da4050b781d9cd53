//! Sessions that identify: their keys, and the answer to their join.

use shared::{
    client_type::ClientType,
    session_id::SessionId,
    v1::{Receipt, Report},
};

use super::*;
use crate::backplane::{
    BackplaneStatus, CommandReach, Entry, JoinError, Joined, Joining, LogRange, Peer, Pending, Position, PublishError,
    Publishing, Reply, ReplyAddress, Unavailable,
};

/// A backplane that answers a join after one second.
struct Distant(Arc<dyn Backplane>);

impl Backplane for Distant {
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        let answer = self.0.join(joining);
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer.await
        })
    }

    fn ready(&self, application: &str, id: SessionId) {
        self.0.ready(application, id);
    }

    fn leave(&self, application: &str, id: SessionId) {
        self.0.leave(application, id);
    }

    fn report(
        &self,
        application: &str,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> Pending<Position, Unavailable> {
        self.0.report(application, id, key, report)
    }

    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError> {
        self.0.publish(publishing)
    }

    fn log_range(&self, application: &str) -> Pending<LogRange, Unavailable> {
        self.0.log_range(application)
    }

    fn ack(&self, entry: &Entry) {
        self.0.ack(entry);
    }

    fn redeliver(&self, entry: &Entry) {
        self.0.redeliver(entry);
    }

    fn reply_address(&self) -> ReplyAddress {
        self.0.reply_address()
    }

    fn reply(&self, to: ReplyAddress, receipt: Receipt, reply: Reply, until: Instant) {
        self.0.reply(to, receipt, reply, until);
    }

    fn command_all(&self, application: &Arc<str>, command: &str) -> Pending<CommandReach, Unavailable> {
        self.0.command_all(application, command)
    }

    fn is_flushed(&self) -> bool {
        self.0.is_flushed()
    }

    fn status(&self) -> BackplaneStatus {
        self.0.status()
    }

    fn known_peers(&self) -> Option<Arc<[Peer]>> {
        self.0.known_peers()
    }

    fn retire(&self) -> Pending<(), Unavailable> {
        self.0.retire()
    }

    fn peers(&self) -> Pending<Vec<Peer>, Unavailable> {
        self.0.peers()
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_revoked_during_a_join_ends_the_session_with_4001() {
    let far = async || {
        let node = TestNode::made_of(clock(), |backplane| Arc::new(Distant(backplane)));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
            .await;
        node.keyring.replace(Vec::new());
        client.after(Duration::from_secs(1) + MS).await;
        client.assert_ended(4001, 4001);
        assert_eq!(node.registry.counts().snapshot().bot, 0);
    };
    LocalSet::new().run_until(far()).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_gets_1013_until_all_keys_are_loaded() {
    let early = async || {
        let node = TestNode::with(clock(), Keyring::partial(Vec::new()), |backplane| backplane);
        for (is_complete, (e, close)) in [(false, (1000, 1013)), (true, (4001, 4001))] {
            if is_complete {
                node.keyring.complete();
            }
            let mut client = node.connect().await;
            client
                .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
                .await;
            client.assert_ended(e, close);
        }
    };
    LocalSet::new().run_until(early()).await;
}

#[tokio::test(start_paused = true)]
async fn a_join_answered_after_its_session_ended_is_undone() {
    let far = async || {
        let ids = IdSource::Fixed(SessionId::from_raw(7));
        let node = TestNode::made_of(ids, |backplane| Arc::new(Distant(backplane)));
        let mut client = node.connect().await;
        client
            .send(&json!({"op": 1, "t": "identify", "d": {"type": "bot", "key": KEY}}))
            .await;
        assert_eq!(client.seen.len(), 1, "the answer is under way");
        // The next session gets the same id if no other session has it.
        let join = || {
            let joining = Joining {
                application: "utilbot".into(),
                kind: ClientType::Bot,
                ticket: None,
                worker: None,
            };
            node.worker.app.backplane.join(joining)
        };
        assert_eq!(join().await.unwrap_err(), JoinError::IdTaken, "it is a member already");
        client.task.abort();
        client.settle().await;
        client.after(Duration::from_secs(1) + MS).await;
        assert_eq!(join().await.map(|joined| joined.id), Ok(SessionId::from_raw(7)));
    };
    LocalSet::new().run_until(far()).await;
}
