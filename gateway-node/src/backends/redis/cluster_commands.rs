//! Commands for all sessions of an application, on every node, and their confirmations.
//!
//! A command is a message on the application's channel. The number of connections that receive a message does not equal
//! the number of nodes: other clients may subscribe, and a node may have lost its connection. So each node that has
//! executed a command confirms it on the server.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::application::RedisApplication;

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
    pub(super) obeyed: Mutex<VecDeque<(Arc<RedisApplication>, String)>>,
    pub(super) changed: Notify,
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
