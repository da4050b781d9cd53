//! A connection's hold on its session.

use std::{fmt, sync::Arc};

use super::{Checkpoint, DiscordSessions, Owner, Private};

/// What the connection that has a session may say about it. Dropped, it leaves the session to whoever resumes it.
pub struct Attachment {
    sessions: Arc<DiscordSessions>,
    owner: Owner,
    is_slow: bool,
}

impl Attachment {
    pub(super) const fn new(sessions: Arc<DiscordSessions>, owner: Owner) -> Self {
        Self {
            sessions,
            owner,
            is_slow: false,
        }
    }

    /// Who has the session.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Keeps what is about to be sent to this session alone. False where it has another owner by now.
    pub fn keep(&self, privates: Vec<Private>) -> bool {
        self.sessions.keep(&self.owner, privates)
    }

    /// Notes what the client has.
    pub fn checkpoint(&self, checkpoint: Checkpoint) {
        self.sessions.checkpoint(&self.owner, checkpoint);
    }

    /// Notes that the connection ends because its client reads slowly.
    pub const fn is_cut(&mut self) {
        self.is_slow = true;
    }

    /// Ends the session: nobody can resume it.
    pub fn end(&self) {
        self.sessions.end(&self.owner);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.sessions.detach(&self.owner, self.is_slow);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.owner).finish()
    }
}
