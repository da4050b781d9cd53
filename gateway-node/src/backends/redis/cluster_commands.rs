//! Commands for all sessions of an application, on every node, and their confirmations.
//!
//! A command is a message on the application's channel. The number of connections that receive a message does not equal
//! the number of nodes: other clients may subscribe, and a node may have lost its connection. So each node that has
//! executed a command confirms it on the server.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    RedisShared,
    application::RedisApplication,
    connection::{problem::RedisProblem, redis_connection::RedisConnection},
    membership::maintenance::millis,
    scripts::Script,
};

/// How long to wait for the nodes to confirm a command.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to ask the server for confirmations.
const POLL: Duration = Duration::from_millis(10);
/// How long the server keeps the confirmations.
const KEPT: Duration = Duration::from_secs(10);
/// The maximum number of commands waiting to be confirmed.
const WAITING: usize = 64;

/// The prefix of a command message.
const ORDER: &str = "order ";

/// A command received in a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClusterCommand {
    pub(super) id: String,
    pub(super) text: String,
}

impl ClusterCommand {
    /// Parses a command. Returns `None` for any other message.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let message = message.strip_prefix(ORDER.as_bytes())?;
        let (id, text) = str::from_utf8(message).ok()?.split_once(' ')?;
        Some(Self {
            id: id.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// The commands executed on this node that have not been confirmed yet.
#[derive(Default)]
pub(super) struct ClusterCommands {
    obeyed: Mutex<VecDeque<(Arc<RedisApplication>, String)>>,
    changed: Notify,
}

impl ClusterCommands {
    /// Records that this node has executed a command. If the queue is full, the oldest command is never confirmed.
    pub(super) fn obeyed(&self, application: &Arc<RedisApplication>, id: String) {
        let mut obeyed = self.obeyed.lock();
        if obeyed.len() == WAITING {
            obeyed.pop_front();
        }
        obeyed.push_back((Arc::clone(application), id));
        drop(obeyed);
        self.changed.notify_one();
    }
}

/// Confirms the commands executed on this node, until the connection ends.
pub(super) async fn confirm(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    let orders = &shared.orders;
    loop {
        let changed = orders.changed.notified();
        let obeyed = std::mem::take(&mut *orders.obeyed.lock());
        if obeyed.is_empty() {
            changed.await;
            continue;
        }
        let calls = obeyed.iter().map(|(application, id)| {
            let mut call = application.call(connection, Script::CommandDone);
            call.arg(id).arg(millis(KEPT));
            call
        });
        // A confirmation that the server refuses is not counted.
        if let Err(problem) = connection.run(calls).await {
            return problem;
        }
    }
}

/// Sends a command to every node that has sessions of an application. Returns how many nodes have executed it.
pub(super) async fn give(
    application: &RedisApplication,
    connection: &RedisConnection,
    order: &str,
) -> Result<u64, RedisProblem> {
    let id = format!("{:016x}", fastrand::u64(..));
    let mut call = connection.script(Script::Command, &application.key(""));
    call.arg(&id).arg(order);
    // No more than that can confirm. Fewer may, since other clients may subscribe.
    let connections = connection.query(call).await?.number(0);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut query = redis::cmd("SCARD");
        query.arg(application.key(format_args!("order:{id}")));
        let nodes = connection.query(query).await?.number(0);
        if nodes >= connections || Instant::now() >= until {
            return Ok(nodes);
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_parsed_with_its_id() {
        let order = ClusterCommand::read(b"order 00ff close 4000 0").unwrap();
        assert_eq!((&*order.id, &*order.text), ("00ff", "close 4000 0"));
        for other in [&b"order 00ff"[..], b"owner 1 2", b"00ff 1\nbody", b"", b"order \xff x"] {
            assert_eq!(ClusterCommand::read(other), None);
        }
    }
}
