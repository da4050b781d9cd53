//! Which sessions an application has, a page at a time.

use std::sync::Arc;

use actix::Message;
use shared::session_id::SessionId;

use super::SessionKind;

/// One session, as those see it who may read their application's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SessionId,
    /// What it is.
    pub kind: SessionKind,
    /// The id of the key that it showed.
    pub key: String,
}

/// A part of the sessions, in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only those with a greater id.
    pub after: Option<SessionId>,
    /// How many at most.
    pub limit: usize,
}

impl Page {
    /// What of `sessions` is on the page, in order; `id` is that of one.
    pub(super) fn cut<T>(self, sessions: impl Iterator<Item = T>, id: impl Fn(&T) -> SessionId) -> Vec<T> {
        let mut cut: Vec<_> = sessions
            .filter(|session| self.after.is_none_or(|after| id(session) > after))
            .collect();
        if cut.len() > self.limit {
            // Sorting all of a full node for one page would keep its worker from the sockets.
            cut.select_nth_unstable_by_key(self.limit, &id);
            cut.truncate(self.limit);
        }
        cut.sort_unstable_by_key(id);
        cut
    }
}

/// Ask a shard for its sessions of one application on a page.
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
    fn pages_hold_every_session_once_and_in_order() {
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
