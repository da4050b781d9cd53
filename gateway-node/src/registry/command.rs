//! What a registry tells its shards, and a shard its sessions.

use std::{sync::Arc, time::Duration};

use actix::Message;
use rustc_hash::FxHashSet;
use shared::session_id::SessionId;

use crate::backplane::Owner;

/// What a session is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Say why and close.
    Leave(Farewell),
    /// Do what an administrator wants to see a client cope with.
    Disturb(Disturbance),
}

impl Order {
    /// Whether it may be given anywhere; others are faults, for nodes where those are enabled.
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Leave(_) | Self::Disturb(Disturbance::Close(_)))
    }
}

/// An order for every session of an application, carried out at a random moment within `spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Herding {
    /// What each of them is told.
    pub order: Order,
    /// How long the last one may take.
    pub spread: Duration,
}

impl Herding {
    /// It as other nodes read it.
    pub fn text(self) -> String {
        let order = match self.order {
            Order::Leave(_) => "reconnect".to_owned(),
            Order::Disturb(Disturbance::Close(code)) => format!("close {code}"),
            Order::Disturb(Disturbance::Cut) => "cut".to_owned(),
            Order::Disturb(Disturbance::Invalidate { is_resumable }) => format!("invalidate {is_resumable}"),
            Order::Disturb(Disturbance::Forget) => "forget".to_owned(),
            Order::Disturb(Disturbance::Deafen(time)) => format!("deafen {}", time.as_millis()),
        };
        format!("{} {order}", self.spread.as_millis())
    }

    /// Reads it. None where this version knows no such order.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let spread = Duration::from_millis(words.next()?.parse().ok()?);
        let order = match (words.next()?, words.next()) {
            ("reconnect", None) => Order::Leave(Farewell::Reconnect),
            ("close", Some(code)) => Order::Disturb(Disturbance::Close(code.parse().ok()?)),
            ("cut", None) => Order::Disturb(Disturbance::Cut),
            ("invalidate", Some(is_resumable)) => Order::Disturb(Disturbance::Invalidate {
                is_resumable: is_resumable.parse().ok()?,
            }),
            ("forget", None) => Order::Disturb(Disturbance::Forget),
            ("deafen", Some(ms)) => Order::Disturb(Disturbance::Deafen(Duration::from_millis(ms.parse().ok()?))),
            _ => return None,
        };
        words.next().is_none().then_some(Self { order, spread })
    }
}

/// What an administrator can do to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
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
pub enum Farewell {
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
        generation: u64,
    },
    /// The client should reconnect and resume.
    Reconnect,
}

/// What a shard is told to do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ShardOrder {
    /// Tell every session to leave, each at a random moment within `spread`.
    Farewell { farewell: Farewell, spread: Duration },
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
pub(super) struct Tell {
    pub(super) application: Arc<str>,
    pub(super) id: SessionId,
    pub(super) order: Order,
}

/// Give every session of an application here an order. Answers how many those are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(super) struct Herd {
    pub(super) application: Arc<str>,
    pub(super) herding: Herding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_for_many_is_read_as_it_was_written() {
        let disturbances = [
            Disturbance::Close(4000),
            Disturbance::Cut,
            Disturbance::Invalidate { is_resumable: true },
            Disturbance::Invalidate { is_resumable: false },
            Disturbance::Forget,
            Disturbance::Deafen(Duration::from_millis(1500)),
        ];
        let orders = disturbances.map(Order::Disturb).into_iter();
        for order in orders.chain([Order::Leave(Farewell::Reconnect)]) {
            let spread = Duration::from_secs(2);
            let herding = Herding { order, spread };
            assert_eq!(Herding::read(&herding.text()), Some(herding));
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
            assert_eq!(Herding::read(wrong), None, "{wrong}");
        }
    }
}
