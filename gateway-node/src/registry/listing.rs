//! Lists the sessions of an application, one page at a time.

use std::{sync::Arc, time::Duration};

use actix::Message;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use shared::session_id::SessionId;
use tokio::{sync::oneshot, time::timeout};

use super::{SessionDetails, SessionKind};

/// How long sessions have to say what they are doing. One that waits for the backplane handles no messages.
const DESCRIPTION: Duration = Duration::from_millis(500);

/// A session as the HTTP API lists it, and as nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSession {
    /// Its id.
    pub id: SessionId,
    /// Its kind: `bot`, `website`, `service` or `discord`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id of the key it identified with.
    pub key: String,
    /// The name of its node.
    pub node: String,
    /// What it is doing. `None` if it did not say so in time.
    #[serde(flatten)]
    pub details: Option<SessionDetails>,
}

/// Which sessions a list is about: those that meet each condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFilter {
    /// The session with this id.
    pub id: Option<SessionId>,
    /// Sessions of this kind: `bot`, `website`, `service` or `discord`.
    pub kind: Option<String>,
    /// Sessions that identified with the key of this id, or with a ticket that it issued.
    pub key: Option<String>,
    /// Sessions with a ticket of this user.
    pub user: Option<String>,
    /// The sessions of the node with this name.
    pub node: Option<String>,
}

impl SessionFilter {
    /// Returns whether the filter admits sessions of a node.
    pub fn admits_node(&self, node: &str) -> bool {
        self.node.as_ref().is_none_or(|wanted| *wanted == node)
    }

    /// Returns whether the filter admits a session of a node that it admits.
    pub(super) fn admits(&self, id: SessionId, kind: SessionKind, key: &str, user: Option<&str>) -> bool {
        let is_met = |condition: &Option<String>, value| condition.is_none() || condition.as_deref() == value;
        self.id.is_none_or(|wanted| wanted == id)
            && is_met(&self.kind, Some(kind.as_str()))
            && is_met(&self.key, Some(key))
            && is_met(&self.user, user)
    }
}

/// A session on a shard, which has been asked what it is doing.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) id: SessionId,
    pub(super) kind: SessionKind,
    pub(super) key: String,
    pub(super) details: oneshot::Receiver<SessionDetails>,
}

/// Waits for what the sessions say.
pub(super) async fn described(sessions: Vec<Listed>) -> Vec<ListedSession> {
    let described = sessions.into_iter().map(|session| async move {
        let Listed { id, kind, key, details } = session;
        ListedSession {
            id,
            kind: kind.as_str().to_owned(),
            key,
            node: String::new(),
            details: timeout(DESCRIPTION, details).await.ok().and_then(Result::ok),
        }
    });
    join_all(described).await
}

/// A page of sessions in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Only sessions with a greater id, if set.
    pub after: Option<SessionId>,
    /// The most sessions on the page.
    pub limit: usize,
}

impl Page {
    /// Returns those of `sessions` that are on the page, in order. `id` returns the id of one.
    pub fn cut<T>(self, sessions: impl IntoIterator<Item = T>, id: impl Fn(&T) -> SessionId) -> Vec<T> {
        let mut cut: Vec<_> = sessions
            .into_iter()
            .filter(|session| self.after.is_none_or(|after| id(session) > after))
            .collect();
        if cut.len() > self.limit {
            // Sorting all sessions of a full node for one page would keep the worker from its sockets.
            cut.select_nth_unstable_by_key(self.limit, &id);
            cut.truncate(self.limit);
        }
        cut.sort_unstable_by_key(id);
        cut
    }
}

/// Asks a shard for one page of those sessions of an application that a filter admits.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Listed>")]
pub(super) struct ListSessions {
    pub(super) application: Arc<str>,
    pub(super) page: Page,
    pub(super) filter: SessionFilter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_list_every_session_once_and_in_order() {
        let ids = [5, 3, 9, 1, 7, 8, 2].map(SessionId::from_raw);
        let mut seen = Vec::new();
        let mut page = Page { after: None, limit: 3 };
        loop {
            let cut = page.cut(ids, |id| *id);
            assert!(cut.len() <= 3);
            let Some(last) = cut.last() else { break };
            page.after = Some(*last);
            seen.extend(cut.iter().map(|id| id.get()));
        }
        assert_eq!(seen, [1, 2, 3, 5, 7, 8, 9]);
    }
}
