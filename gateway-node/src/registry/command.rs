//! What a registry tells its shards, and a shard its sessions.

use std::{sync::Arc, time::Duration};

use actix::Message;
use rustc_hash::FxHashSet;
use shared::session_id::SessionId;

use crate::backplane::Owner;

/// What a session is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum SessionCommand {
    /// Say why and close.
    Leave(EndReason),
    /// Do what an administrator wants to see a client cope with.
    Inject(InjectedFault),
}

impl SessionCommand {
    /// Whether it may be given anywhere; others are faults, for nodes where those are enabled.
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Leave(_) | Self::Inject(InjectedFault::Close(_)))
    }
}

/// An order for every session of an application, carried out at a random moment within `spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpreadCommand {
    /// What each of them is told.
    pub command: SessionCommand,
    /// How long the last one may take.
    pub spread: Duration,
}

impl SpreadCommand {
    /// It as other nodes read it.
    pub fn text(self) -> String {
        let command = match self.command {
            SessionCommand::Leave(_) => "reconnect".to_owned(),
            SessionCommand::Inject(InjectedFault::Close(code)) => format!("close {code}"),
            SessionCommand::Inject(InjectedFault::Cut) => "cut".to_owned(),
            SessionCommand::Inject(InjectedFault::Invalidate { is_resumable }) => format!("invalidate {is_resumable}"),
            SessionCommand::Inject(InjectedFault::Forget) => "forget".to_owned(),
            SessionCommand::Inject(InjectedFault::Deafen(time)) => format!("deafen {}", time.as_millis()),
        };
        format!("{} {command}", self.spread.as_millis())
    }

    /// Reads it. None where this version knows no such order.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let spread = Duration::from_millis(words.next()?.parse().ok()?);
        let command = match (words.next()?, words.next()) {
            ("reconnect", None) => SessionCommand::Leave(EndReason::Reconnect),
            ("close", Some(code)) => SessionCommand::Inject(InjectedFault::Close(code.parse().ok()?)),
            ("cut", None) => SessionCommand::Inject(InjectedFault::Cut),
            ("invalidate", Some(is_resumable)) => SessionCommand::Inject(InjectedFault::Invalidate {
                is_resumable: is_resumable.parse().ok()?,
            }),
            ("forget", None) => SessionCommand::Inject(InjectedFault::Forget),
            ("deafen", Some(ms)) => {
                SessionCommand::Inject(InjectedFault::Deafen(Duration::from_millis(ms.parse().ok()?)))
            }
            _ => return None,
        };
        words.next().is_none().then_some(Self { command, spread })
    }
}

/// What an administrator can do to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// Close it with this code.
    Close(u16),
    /// Cut it without a word.
    Cut,
    /// Say that the session is invalid (op 9), and whether it may be resumed. Discord sessions alone know that.
    Invalidate {
        /// Whether it may be resumed.
        is_resumable: bool,
    },
    /// Forget the session: its connection lives on, and when that has ended it cannot be resumed.
    Forget,
    /// Answer no heartbeat for so long.
    Deafen(Duration),
}

/// Why the node ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The node is about to stop; another one takes the client.
    Restarting,
    /// The session's key was revoked or has expired.
    KeyRevoked,
    /// An administrator ended it.
    Kicked,
    /// The node cannot deliver an event that it should have had.
    Missed,
    /// The session goes on over another connection.
    Superseded {
        /// Which of the session's owners that one is.
        fencing_token: u64,
    },
    /// The client should reconnect and resume.
    Reconnect,
}

/// What a shard is told to do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ShardCommand {
    /// Tell every session to leave, each at a random moment within `spread`.
    End { end_reason: EndReason, spread: Duration },
    /// Tell those to leave whose key is no longer good.
    RecheckKeys,
    /// Tell those to leave who miss events of this application, each at a random moment within `spread`.
    Missed {
        application: Arc<str>,
        spread: Duration,
        /// Or for Discord sessions alone.
        is_for_all: bool,
    },
    /// Tell these sessions of an application to leave: they get nothing more.
    Severed {
        application: Arc<str>,
        sessions: FxHashSet<SessionId>,
    },
    /// Tell earlier owners of this session to let go of it.
    Superseded(Owner),
}

/// Give one session an order, if it is here. Answers whether it is.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct CommandOne {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) command: SessionCommand,
}

/// Give every session of an application here an order. Answers how many those are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(super) struct CommandAll {
    pub(super) application: Arc<str>,
    pub(super) spread_command: SpreadCommand,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_for_many_is_read_as_it_was_written() {
        let disturbances = [
            InjectedFault::Close(4000),
            InjectedFault::Cut,
            InjectedFault::Invalidate { is_resumable: true },
            InjectedFault::Invalidate { is_resumable: false },
            InjectedFault::Forget,
            InjectedFault::Deafen(Duration::from_millis(1500)),
        ];
        let commands = disturbances.map(SessionCommand::Inject).into_iter();
        for command in commands.chain([SessionCommand::Leave(EndReason::Reconnect)]) {
            let spread = Duration::from_secs(2);
            let spread_command = SpreadCommand { command, spread };
            assert_eq!(SpreadCommand::read(&spread_command.text()), Some(spread_command));
        }
        for wrong in [
            "",
            "5",
            "x cut",
            "5 explode",
            "5 close",
            "5 close x",
            "5 cut 1",
            "5 close 1 2",
            "5 deafen -1",
        ] {
            assert_eq!(SpreadCommand::read(wrong), None, "{wrong}");
        }
    }
}
