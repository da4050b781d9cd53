//! Orders for the sessions of all nodes, and who has carried them out.
//!
//! An order is a message on the application's channel. How many connections get a message says nothing about nodes: others
//! may listen, and a node may have lost its connection. So each node that has carried an order out says so on the server.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    RedisShared,
    application::{RedisApplication, lock},
    connection::{problem::RedisProblem, redis_connection::RedisConnection},
    membership::maintenance::millis,
    scripts::Script,
};

/// How long the nodes have to carry an order out before it is answered without them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the server is asked for those who have.
const POLL: Duration = Duration::from_millis(10);
/// How long the server keeps who has.
const KEPT: Duration = Duration::from_secs(10);
/// The most orders that wait to be confirmed.
const WAITING: usize = 64;

/// What a message begins with that is an order.
const ORDER: &str = "order ";

/// An order as a message brings it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClusterCommand {
    pub(super) id: String,
    pub(super) text: String,
}

impl ClusterCommand {
    /// Reads an order. Returns `None` if the message is another one.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let message = message.strip_prefix(ORDER.as_bytes())?;
        let (id, text) = str::from_utf8(message).ok()?.split_once(' ')?;
        Some(Self {
            id: id.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// Orders that were carried out here and have still to be confirmed.
#[derive(Default)]
pub(super) struct ClusterCommands {
    obeyed: Mutex<VecDeque<(Arc<RedisApplication>, String)>>,
    changed: Notify,
}

impl ClusterCommands {
    /// Records that the sessions here have an order. Beyond the most that wait, the oldest is not confirmed.
    pub(super) fn obeyed(&self, application: &Arc<RedisApplication>, id: String) {
        let mut obeyed = lock(&self.obeyed);
        if obeyed.len() == WAITING {
            obeyed.pop_front();
        }
        obeyed.push_back((Arc::clone(application), id));
        drop(obeyed);
        self.changed.notify_one();
    }
}

/// Confirms the orders that were carried out here, until the link ends.
pub(super) async fn confirm(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    let orders = &shared.orders;
    loop {
        let changed = orders.changed.notified();
        let obeyed = std::mem::take(&mut *lock(&orders.obeyed));
        if obeyed.is_empty() {
            changed.await;
            continue;
        }
        let calls = obeyed.iter().map(|(application, id)| {
            let mut call = application.call(connection, Script::CommandDone);
            call.arg(id).arg(millis(KEPT));
            call
        });
        // One that is refused is not counted.
        if let Err(problem) = connection.run(calls).await {
            return problem;
        }
    }
}

/// Gives an order to every node that has sessions of an application, and answers how many have carried it out.
pub(super) async fn give(
    application: &RedisApplication,
    connection: &RedisConnection,
    order: &str,
) -> Result<u64, RedisProblem> {
    let id = format!("{:016x}", fastrand::u64(..));
    let mut call = connection.script(Script::Command, &application.key(""));
    call.arg(&id).arg(order);
    // More than that cannot answer; fewer may, since others may listen.
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
    fn an_order_is_read_with_its_id() {
        let order = ClusterCommand::read(b"order 00ff close 4000 0").unwrap();
        assert_eq!((&*order.id, &*order.text), ("00ff", "close 4000 0"));
        for other in [&b"order 00ff"[..], b"owner 1 2", b"00ff 1\nbody", b"", b"order \xff x"] {
            assert_eq!(ClusterCommand::read(other), None);
        }
    }
}
