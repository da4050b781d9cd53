//! A membership operation in Redis.

use std::sync::Arc;

use redis::Cmd;
use shared::{
    client_type::ClientType,
    guild::GuildId,
    session_id::SessionId,
    v1::{Report, ReportedGuilds},
};

use super::JoinState;
use crate::backends::redis::{
    LogBounds, application::RedisApplication, connection::redis_connection::RedisConnection, scripts::Script,
};

/// The maximum number of guilds that one call adds or removes. Such a call blocks the server for about 0.2 ms, so a
/// concurrent publication waits for no longer than that.
pub(in crate::backends::redis) const CHUNK: usize = 64;

/// An operation. Each session has at most one in flight.
pub(in crate::backends::redis) enum MembershipOp {
    Join(SessionId, JoinState),
    JoinAgain(SessionId, ClientType),
    Enter(SessionId),
    /// Ends a membership, and removes at most this many of its guilds per call.
    Leave(SessionId, usize),
    /// Reads the guilds that Redis has.
    Ask(SessionId),
    /// A part of a report.
    Report {
        id: SessionId,
        report: Arc<Report>,
        added: Vec<GuildId>,
        removed: Vec<GuildId>,
        is_last: bool,
    },
    Ack(Vec<u64>),
    Nack(u64),
    /// Gives back all addressed entries up to this offset.
    Sweep(u64),
}

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
            Self::Join(id, JoinState { kind, .. }) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(*kind as u8).arg(0);
                call
            }
            Self::JoinAgain(id, kind) => {
                let mut call = call_log(Script::Join);
                call.arg(id.get()).arg(*kind as u8).arg(1);
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
