//! The Redis commands of the membership operations.

use redis::Cmd;
use shared::v1::ReportedGuilds;

use super::op::{JoinState, MembershipOp};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::redis_connection::RedisConnection,
        log::{
            bounds::LogBounds,
            wire::{self, NONE},
        },
        scripts::Script,
    },
    backplane::{JoiningTicket, Worker},
};

impl MembershipOp {
    /// The Redis command of the operation.
    pub(in crate::backends::redis) fn call(
        &self,
        application: &RedisApplication,
        connection: &RedisConnection,
        bounds: LogBounds,
    ) -> Cmd {
        let call_script = |script| application.call(connection, script);
        let call_log = |script| application.call_log(connection, script);
        match self {
            Self::Join(id, JoinState { joining, .. }) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(joining.kind as u8).arg(0);
                add_ticket(&mut call, joining.ticket.as_ref());
                add_worker(&mut call, joining.worker.as_ref());
                call
            }
            Self::JoinAgain(id, kind, ticket, worker) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(*kind as u8).arg(1);
                add_ticket(&mut call, ticket.as_ref());
                add_worker(&mut call, worker.as_ref());
                call
            }
            Self::Enter(id) => {
                let mut call = call_log(Script::Ready);
                call.arg(id.get());
                call
            }
            Self::Leave(id, budget) => {
                let mut call = call_script(Script::Leave);
                call.arg(id.get()).arg(*budget);
                call
            }
            Self::Ask(id) => {
                let mut query = redis::cmd("SMEMBERS");
                query.arg(application.key(format_args!("report:{id}")));
                query
            }
            Self::Report {
                id,
                report,
                added,
                removed,
                is_last,
            } => {
                let count = match report.guilds {
                    ReportedGuilds::Count(count) => count,
                    ReportedGuilds::Ids(_) => 0,
                };
                let mut call = call_log(Script::Report);
                call.arg(id.get())
                    .arg(u8::from(*is_last))
                    .arg(count)
                    .arg(report.guild_members)
                    .arg(report.cached_guild_members)
                    .arg(added.len());
                for guild in added.iter().chain(removed) {
                    call.arg(guild.get());
                }
                call
            }
            Self::Ack(offsets) => {
                let mut call = call_script(Script::Ack);
                call.arg(offsets);
                call
            }
            Self::Nack(offset) => {
                let mut call = call_log(Script::Redirect);
                bounds.add_to(&mut call);
                call.arg(*offset);
                call
            }
            Self::Sweep(up_to) => {
                let mut call = call_log(Script::Sweep);
                bounds.add_to(&mut call);
                call.arg(*up_to);
                call
            }
        }
    }
}

/// Adds whether a session has a ticket, and the user that it names. The scripts treat both like guilds that the session
/// watches.
fn add_ticket(call: &mut Cmd, ticket: Option<&JoiningTicket>) {
    let user = ticket.and_then(|ticket| ticket.user.as_ref());
    call.arg(u8::from(ticket.is_some()))
        .arg(user.map_or_else(|| NONE.to_owned(), wire::user_key));
}

/// Adds how many jobs a session takes at once, and the id of its key.
fn add_worker(call: &mut Cmd, worker: Option<&Worker>) {
    match worker {
        Some(Worker { places, key }) => call.arg(*places).arg(&**key),
        None => call.arg(NONE).arg(NONE),
    };
}
