//! One session: what it is here, and what Redis takes it for.

use std::sync::Arc;

use shared::{client_type::ClientType, session_id::SessionId, v1::Report};

use super::step::{Step, parts};

/// A session that is there, or was.
pub(super) struct Member {
    pub(super) kind: ClientType,
    pub(super) wanted: Option<Arc<Report>>,
    pub(super) stored: Stored,
    /// What it is here.
    pub(super) is: Is,
    /// What Redis takes it for.
    pub(super) taken_for: Is,
    pub(super) is_changed: bool,
}

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    /// Nothing any more, or, for Redis, nothing until it is made a member again.
    Gone,
    /// A member that cannot receive yet.
    Member,
    /// A member that can be given what is for one of several.
    Receiver,
}

/// What Redis has of a session's report.
pub(super) enum Stored {
    Report(Option<Arc<Report>>),
    /// It has to be asked for.
    Unknown,
}

impl Member {
    pub(super) fn new(kind: ClientType) -> Self {
        Self {
            kind,
            wanted: None,
            stored: Stored::Report(None),
            is: Is::Member,
            taken_for: Is::Member,
            is_changed: false,
        }
    }

    pub(super) fn needs_a_step(&self) -> bool {
        let is_stored = match (&self.stored, &self.wanted) {
            (Stored::Report(None), None) => true,
            (Stored::Report(Some(stored)), Some(wanted)) => Arc::ptr_eq(stored, wanted),
            _ => false,
        };
        // One that is gone is forgotten as soon as Redis has forgotten it.
        self.is == Is::Gone || self.is != self.taken_for || !is_stored
    }

    /// What is to be done next, in one or more calls.
    pub(super) fn steps(&self, id: SessionId) -> Vec<Step> {
        match (self.is, self.taken_for) {
            (Is::Gone, _) => return vec![Step::Leave(id)],
            (_, Is::Gone) => return vec![Step::JoinAgain(id, self.kind, self.is)],
            (Is::Receiver, Is::Member) => return vec![Step::Enter(id)],
            _ => {}
        }
        match (&self.stored, &self.wanted) {
            (Stored::Unknown, _) => vec![Step::Ask(id)],
            (Stored::Report(stored), Some(wanted)) => parts(id, stored.as_deref(), wanted),
            (Stored::Report(_), None) => Vec::new(),
        }
    }
}
