//! Pings, so that proxies keep an idle connection.

use bytes::Bytes;

use super::{V1, call::V1Call};
use crate::session::{Action, Cx};

/// An empty ping.
pub(super) const PING: Bytes = Bytes::from_static(&[0x89, 0]);

impl V1 {
    /// Sends a ping if nothing was sent for long enough. Sets when to check again.
    pub(super) fn keep_alive(&mut self, cx: &Cx<'_>) -> Option<Action<V1Call>> {
        let (interval, due) = (self.settings.ping_interval?, self.ping_at?);
        if cx.now < due {
            return None;
        }
        let is_due = |last_sent| last_sent + interval <= cx.now;
        match cx.last_sent() {
            Some(last_sent) if !is_due(last_sent) => {
                self.ping_at = Some(last_sent + interval);
                None
            }
            _ => {
                self.ping_at = Some(cx.now + interval);
                Some(Action::Send(PING))
            }
        }
    }
}
