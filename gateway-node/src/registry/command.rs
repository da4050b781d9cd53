//! Commands from the registry to its shards, and from a shard to its sessions.

use std::{sync::Arc, time::Duration};

use actix::Message;
use rustc_hash::FxHashSet;
use shared::session_id::SessionId;
use tokio::sync::oneshot;

use super::SessionDetails;
use crate::{backplane::Owner, encode::encoded_event::EncodedEvent};

/// A message to a session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum SessionMessage {
    /// Carry out a command.
    Command(SessionCommand),
    /// Say what the session is doing.
    Describe(oneshot::Sender<SessionDetails>),
}

/// A command to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCommand {
    /// Say why, and close.
    Leave(EndReason),
    /// Inject a fault that an administrator wants to test a client with.
    Inject(InjectedFault),
}

impl SessionCommand {
    /// Returns whether the command is allowed everywhere. Other commands are faults, for nodes on which those are
    /// enabled.
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Leave(_) | Self::Inject(InjectedFault::Close(_)))
    }
}

/// A command to every session of an application, each at a random moment within `spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpreadCommand {
    /// The command to each session.
    pub command: SessionCommand,
    /// The period over which the command is spread.
    pub spread: Duration,
}

impl SpreadCommand {
    /// Encodes the command as text for other nodes.
    pub fn text(self) -> String {
        let command = match self.command {
            SessionCommand::Leave(EndReason::Kicked) => "kick".to_owned(),
            SessionCommand::Leave(_) => "reconnect".to_owned(),
            SessionCommand::Inject(InjectedFault::Close(code)) => format!("close {code}"),
            SessionCommand::Inject(InjectedFault::Cut) => "cut".to_owned(),
            SessionCommand::Inject(InjectedFault::Invalidate { is_resumable }) => format!("invalidate {is_resumable}"),
            SessionCommand::Inject(InjectedFault::Forget) => "forget".to_owned(),
            SessionCommand::Inject(InjectedFault::Deafen(time)) => format!("deafen {}", time.as_millis()),
        };
        format!("{} {command}", self.spread.as_millis())
    }

    /// Parses a command from text. Returns `None` if this version does not know it.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let spread = Duration::from_millis(words.next()?.parse().ok()?);
        let command = match (words.next()?, words.next()) {
            ("kick", None) => SessionCommand::Leave(EndReason::Kicked),
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

/// A fault that an administrator can inject into a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// Close the connection with this code.
    Close(u16),
    /// Cut the connection without a Close frame.
    Cut,
    /// Send Invalid Session (op 9). Only Discord sessions support this.
    Invalidate {
        /// Whether the session may be resumed.
        is_resumable: bool,
    },
    /// Forget the session: its connection stays open, but once it has ended the session cannot be resumed.
    Forget,
    /// Answer no heartbeats for this long.
    Deafen(Duration),
}

/// Why the node ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The node is about to stop; the client should connect to another one.
    Restarting,
    /// The session's key was revoked, or its ticket.
    KeyRevoked,
    /// The session's key has expired.
    KeyExpired,
    /// An administrator ended it.
    Kicked,
    /// The node cannot deliver an event that the session should have received.
    Missed,
    /// The session continues on another connection.
    Superseded {
        /// The fencing token of the new owner.
        fencing_token: u64,
    },
    /// The client should reconnect and resume.
    Reconnect,
}

/// A command to a shard.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ShardCommand {
    /// Tell every session to leave, each at a random moment within `spread`.
    End { end_reason: EndReason, spread: Duration },
    /// Tell sessions to leave whose key is no longer valid.
    RecheckKeys,
    /// Tell the Discord sessions of this application to leave because they miss events, each at a random moment within
    /// `spread`.
    Missed { application: Arc<str>, spread: Duration },
    /// Tell these sessions of an application to leave: they receive nothing more.
    Severed {
        application: Arc<str>,
        sessions: FxHashSet<SessionId>,
    },
    /// Tell earlier owners of this session to let go of it.
    Superseded(Owner),
}

/// Gives a request to one of the sessions of a shard.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GiveRequest {
    pub(super) event: Arc<EncodedEvent>,
    /// The place of the session among those of the shard that can have it.
    pub(super) place: usize,
}

/// Sends a command to one session. Returns whether this shard has the session.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct CommandOne {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) command: SessionCommand,
}

/// Sends a command to every session of an application on this shard. Returns how many sessions those are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(super) struct CommandAll {
    pub(super) application: Arc<str>,
    pub(super) spread_command: SpreadCommand,
}

/// Asks a shard whether its worker runs. The answer is all there is.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Ping;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_commands_survive_a_round_trip_through_text() {
        let disturbances = [
            InjectedFault::Close(4000),
            InjectedFault::Cut,
            InjectedFault::Invalidate { is_resumable: true },
            InjectedFault::Invalidate { is_resumable: false },
            InjectedFault::Forget,
            InjectedFault::Deafen(Duration::from_millis(1500)),
        ];
        let commands = disturbances.map(SessionCommand::Inject).into_iter();
        let orders = [EndReason::Reconnect, EndReason::Kicked].map(SessionCommand::Leave);
        for command in commands.chain(orders) {
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
