//! Lists the sessions of an application, one page at a time.

use std::sync::Arc;

use actix::Message;
use shared::session_id::SessionId;

use super::SessionKind;

/// A session as the HTTP API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SessionId,
    /// Its kind.
    pub kind: SessionKind,
    /// The id of the key it identified with.
    pub key: String,
}

/// A page of sessions in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only sessions with a greater id, if set.
    pub after: Option<SessionId>,
    /// The most sessions on the page.
    pub limit: usize,
}

impl Page {
    /// Returns those of `sessions` that are on the page, in order. `id` returns the id of one.
    pub(super) fn cut<T>(self, sessions: impl Iterator<Item = T>, id: impl Fn(&T) -> SessionId) -> Vec<T> {
        let mut cut: Vec<_> = sessions
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

/// Asks a shard for one page of an application's sessions.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Listed>")]
pub(super) struct ListSessions {
    pub(super) application: Arc<str>,
    pub(super) page: Page,
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
            let cut = page.cut(ids.into_iter(), |id| *id);
            assert!(cut.len() <= 3);
            let Some(last) = cut.last() else { break };
            page.after = Some(*last);
            seen.extend(cut.iter().map(|id| id.get()));
        }
        assert_eq!(seen, [1, 2, 3, 5, 7, 8, 9]);
    }
}
