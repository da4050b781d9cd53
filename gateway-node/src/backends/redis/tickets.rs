//! The tickets in Redis, shared by all nodes.
//!
//! A ticket carries the `run_id` of the server that stored it, and is taken only from a server with the same one: after
//! a restart or a failover the server may have lost that a ticket was taken.

use std::{sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use shared::{key::SecretHash, user::UserId};
use tokio::{sync::watch, time::sleep};

use super::{
    bounded_query::bounded_query,
    connection::{
        problem::RedisProblem,
        redis_connection::{RedisConnection, ReplyFields},
    },
    log::wire::NONE,
    scripts::{Script, millis},
    shared::RedisShared,
};
use crate::backplane::{IssueError, NewTicket, Pending, Revocations, Ticket, Tickets, Unavailable};

/// How often a node checks whether users were revoked. A revocation must take effect within a second.
const REVOCATION_CHECK: Duration = Duration::from_millis(250);

/// The tickets in Redis.
pub struct RedisTickets {
    shared: Arc<RedisShared>,
}

impl RedisTickets {
    pub(super) const fn new(shared: Arc<RedisShared>) -> Self {
        Self { shared }
    }

    /// Runs a script with these arguments. The first one is preceded by the server's `run_id` if `with_run` is set.
    fn call(&self, script: Script, arguments: impl FnOnce(&mut redis::Cmd, &RedisConnection)) -> Reply {
        let connection = self.shared.connection.borrow().clone();
        let Some(connection) = connection else {
            return Box::pin(std::future::ready(Err(Unavailable)));
        };
        let mut call = connection.script(script, &self.shared.cluster_key(""));
        arguments(&mut call, &connection);
        Box::pin(bounded_query(connection, call))
    }
}

type Reply = Pending<ReplyFields, Unavailable>;

impl Tickets for RedisTickets {
    fn issue(&self, ticket: NewTicket) -> Pending<(), IssueError> {
        let NewTicket { id, hash, record, ttl } = ticket;
        let Ok(json) = serde_json::to_string(&record) else {
            return Box::pin(std::future::ready(Err(IssueError::Unavailable)));
        };
        let reply = self.call(Script::TicketIssue, |call, connection| {
            call.arg(&*connection.run_id)
                .arg(id)
                .arg(hash.to_string())
                .arg(&*record.application)
                .arg(&*record.issuer)
                .arg(record.rights.user.as_ref().map_or_else(|| NONE.to_owned(), hex_of))
                .arg(json)
                .arg(millis(ttl))
                .arg(self.shared.options.tickets.unused);
        });
        Box::pin(async move {
            let fields = reply.await.map_err(|Unavailable| IssueError::Unavailable)?;
            match fields.word(0) {
                "ok" => Ok(()),
                "full" => Err(IssueError::Full {
                    retry_after: Duration::from_millis(fields.number(1)),
                }),
                _ => Err(IssueError::Unavailable),
            }
        })
    }

    fn take(&self, id: &str, hash: SecretHash) -> Pending<Option<Ticket>, Unavailable> {
        let reply = self.call(Script::TicketTake, |call, connection| {
            call.arg(&*connection.run_id).arg(id).arg(hash.to_string());
        });
        Box::pin(async move {
            let fields = reply.await?;
            if fields.word(0) != "ok" {
                return Ok(None);
            }
            let issued_at = fields.number(1);
            match serde_json::from_str(fields.word(2)) {
                Ok(record) => Ok(Some(Ticket { record, issued_at })),
                Err(error) => {
                    log::error!("a ticket in redis cannot be read: {error}");
                    Ok(None)
                }
            }
        })
    }

    fn revoke(&self, issuer: &Arc<str>, user: &UserId) -> Pending<bool, Unavailable> {
        let limits = self.shared.options.tickets;
        let reply = self.call(Script::TicketRevoke, |call, _| {
            call.arg(&**issuer)
                .arg(hex_of(user))
                .arg(millis(limits.revocations_kept))
                .arg(limits.unused);
        });
        Box::pin(async move { Ok(reply.await?.word(0) == "ok") })
    }

    fn revocations(&self) -> watch::Receiver<Revocations> {
        self.shared.revocations.subscribe()
    }
}

/// Encodes a user so that it has neither a space nor a line break.
pub(super) fn hex_of(user: &UserId) -> String {
    hex::encode(user.as_str())
}

/// Decodes a user that [`hex_of`] has encoded.
pub(super) fn user_of_hex(text: &str) -> Option<UserId> {
    let bytes = hex::decode(text).ok()?;
    UserId::new(str::from_utf8(&bytes).ok()?)
}

/// Publishes the revocations whenever they change, until the connection ends. An error reply does not end the
/// connection: the last known revocations stay in use.
pub(super) async fn follow(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    let mut known = None;
    loop {
        let mut query = redis::cmd("GET");
        query.arg(shared.cluster_key("revocations:revision"));
        match read(shared, connection, query, known.as_deref()).await {
            Ok(None) => {}
            Ok(Some((revision, revocations))) => {
                known = Some(revision);
                shared.revocations.send_replace(Arc::new(revocations));
            }
            Err(problem @ (RedisProblem::Unreachable { .. } | RedisProblem::Silent { .. })) => return problem,
            Err(problem) => log::error!("the revocations in redis cannot be read: {problem}"),
        }
        sleep(REVOCATION_CHECK).await;
    }
}

type ReadRevocations = FxHashMap<(Arc<str>, UserId), u64>;

/// Reads the revision and the revocations, or returns `None` if the revision is still `known`.
async fn read(
    shared: &RedisShared,
    connection: &RedisConnection,
    query: redis::Cmd,
    known: Option<&str>,
) -> Result<Option<(String, ReadRevocations)>, RedisProblem> {
    let revision = connection.query(query).await?.word(0).to_owned();
    if known == Some(&*revision) {
        return Ok(None);
    }
    let mut query = redis::cmd("HGETALL");
    query.arg(shared.cluster_key("revocations"));
    let pairs = connection.query(query).await?;
    let revocation = |(field, at): (String, String)| {
        let (issuer, user) = field.split_once(' ')?;
        Some(((issuer.into(), user_of_hex(user)?), at.parse().ok()?))
    };
    Ok(Some((revision, pairs.pairs().filter_map(revocation).collect())))
}
