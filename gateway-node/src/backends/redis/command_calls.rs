//! Sends commands to the nodes of a cluster, and confirms those that this node has executed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    application::RedisApplication,
    connection::{problem::RedisProblem, redis_connection::RedisConnection},
    scripts::{Script, millis},
    shared::RedisShared,
};
use crate::backplane::CommandReach;

/// How long to wait for the nodes to confirm a command.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to ask the server for confirmations.
const POLL: Duration = Duration::from_millis(10);
/// How long the server keeps the confirmations.
const KEPT: Duration = Duration::from_secs(10);

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

/// Sends a command to every node that has sessions of an application. Returns how many of them have executed it.
pub(super) async fn send(
    application: &RedisApplication,
    connection: &RedisConnection,
    order: &str,
) -> Result<CommandReach, RedisProblem> {
    let id = format!("{:016x}", crate::random::token());
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
            return Ok(CommandReach {
                nodes,
                may_miss_nodes: nodes < connections,
            });
        }
        sleep(POLL).await;
    }
}
