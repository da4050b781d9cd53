//! Sends replies to the nodes that wait for them. Each node subscribes to a channel of its own,
//! `<prefix>:{_cluster}:replies:<address>`.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    connection::{problem::RedisProblem, redis_connection::RedisConnection},
    shared::RedisShared,
};
use crate::backplane::ReplyAddress;

/// How long to wait before a reply is sent again that no node has received: the requester's node may be connecting.
const AGAIN: Duration = Duration::from_millis(100);

/// Sends the queued replies until the connection ends.
pub(super) async fn send(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    loop {
        let batch = shared.replies.take().await;
        let calls: Vec<_> = batch
            .iter()
            .map(|reply| {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(channel(shared, reply.to)).arg(&reply.message);
                publish
            })
            .collect();
        let again = Instant::now() + AGAIN;
        match connection.run(calls).await {
            Ok(answers) => {
                let unheard = batch.into_iter().zip(answers).filter_map(|(reply, answer)| {
                    // A reply that is refused is tried again too.
                    let receivers = answer.map_or(0, |fields| fields.number(0));
                    (receivers == 0).then_some(reply)
                });
                shared.replies.put_back(unheard, again);
            }
            Err(problem) => {
                // The requester's node takes only the first of several replies.
                shared.replies.put_back(batch.into_iter(), again);
                return problem;
            }
        }
    }
}

/// Returns the channel on which a node gets replies.
pub(super) fn channel(shared: &RedisShared, address: ReplyAddress) -> String {
    shared.cluster_key(&format!("replies:{address}"))
}
