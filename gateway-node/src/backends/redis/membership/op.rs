//! A membership operation in Redis.

use std::sync::Arc;

use shared::{client_type::ClientType, guild::GuildId, session_id::SessionId, v1::Report};
use tokio::sync::oneshot;

use crate::backplane::{JoinError, Joined, Joining, JoiningTicket, Worker};

/// The maximum number of guilds that one call adds or removes. Such a call blocks the server for about 0.2 ms, so a
/// concurrent publication waits for no longer than that.
pub(in crate::backends::redis) const CHUNK: usize = 64;

/// An operation. Each session has at most one in flight.
pub(in crate::backends::redis) enum MembershipOp {
    Join(SessionId, JoinState),
    JoinAgain(SessionId, ClientType, Option<JoiningTicket>, Option<Worker>),
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

/// A join that has not been answered yet.
pub(in crate::backends::redis) struct JoinState {
    pub(super) joining: Joining,
    pub(super) attempts: usize,
    pub(super) answer: oneshot::Sender<Result<Joined, JoinError>>,
}
