//! An event that the log has accepted.

use std::sync::Arc;

use shared::{
    client_type::{ClientType, ClientTypes},
    discord::Header,
    guild::GuildId,
    session_id::SessionId,
    user::UserId,
};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    job::DeliveredJob,
    position::Position,
    request::{Request, RequestTarget},
    trace_parent::TraceParent,
};

/// An event in the log. Its receivers were decided when it was appended, and are never decided again.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its position in the log of its application.
    pub position: Position,
    /// The application that the log belongs to.
    pub application: Arc<str>,
    /// The event's name, `t` on the wire.
    pub name: Arc<str>,
    /// Its receivers.
    pub audience: Audience,
    /// When it was appended, in milliseconds since the Unix epoch. 0 if that is not known.
    pub at: u64,
    /// When this node accepted the event, or took the entry from the log if another node did.
    pub accepted: Instant,
    /// If the event was appended again because its receivers had ended, the offset at which it was appended first.
    pub first: Option<u64>,
    /// The session that sent it. It never receives its own event.
    pub author: Option<SessionId>,
    /// The user who sent it, if the sender identified with a ticket that names one.
    pub user: Option<UserId>,
    /// Whether sessions of a ticket receive it if it is a broadcast.
    pub to_tickets: bool,
    /// The trace that it belongs to, if it was published over HTTP with a `traceparent`.
    pub trace: Option<Box<TraceParent>>,
    /// What decides which Discord sessions receive it; `None` if none do.
    pub discord: Option<Arc<Header>>,
    /// The event's data, byte for byte as its sender wrote it: one JSON object.
    pub d: Arc<str>,
}

/// The receivers of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every session of these types.
    Types(ClientTypes),
    /// The bots that had reported a guild. If all of them end before they receive the event, the next bot to report the
    /// guild receives it.
    Reporters {
        /// The guild.
        guild: GuildId,
        /// The bots.
        sessions: SmallVec<[SessionId; 2]>,
        /// Whether the sessions that watch the guild receive it too. They are not listed, because thousands can watch
        /// one guild. `false` if the event is readdressed: then they have it already.
        are_watchers_included: bool,
        /// The types that may receive it.
        of: ClientTypes,
    },
    /// The sessions whose ticket names a user. They are not listed.
    User {
        /// The user.
        user: UserId,
        /// The types that may receive it.
        of: ClientTypes,
    },
    /// One session, chosen among those of these types. If it ends before it receives the event, another one does, or
    /// the next one to join.
    One {
        /// The chosen session.
        session: SessionId,
        /// The types that another session may be chosen from.
        of: ClientTypes,
    },
    /// The worker that gets a job.
    Job(Box<DeliveredJob>),
    /// One session, which replies. No other session ever gets the event.
    Request {
        /// The session, as far as it has been chosen.
        target: RequestTarget,
        /// The types that may receive it.
        of: ClientTypes,
        /// How to reply.
        request: Box<Request>,
    },
}

impl Entry {
    /// Returns an event of application `a` for tests: the first one of its log, with nothing that is optional.
    #[cfg(test)]
    pub(crate) fn example(audience: Audience) -> Self {
        Self {
            position: Position {
                offset: 1,
                epoch: super::position::Epoch::from_raw(1),
            },
            application: "a".into(),
            name: "n".into(),
            audience,
            at: 0,
            accepted: Instant::now(),
            first: None,
            author: None,
            user: None,
            to_tickets: false,
            trace: None,
            discord: None,
            d: "{}".into(),
        }
    }

    /// The size of the entry while it is queued, in bytes.
    pub fn weight(&self) -> usize {
        Self::weight_of(&self.name, &self.d)
    }

    /// The size of an entry with this name and data, in bytes.
    pub const fn weight_of(name: &str, d: &str) -> usize {
        size_of::<Self>() + name.len() + d.len()
    }

    /// Whether a session that was away can receive the entry later: not an event for one session of several, and not
    /// another append of an event.
    pub fn can_be_missed(&self) -> bool {
        match &self.audience {
            Audience::Types(types) => *types != ClientTypes::NONE,
            Audience::Reporters { .. } => self.first.is_none(),
            Audience::User { .. } => true,
            Audience::One { .. } | Audience::Request { .. } | Audience::Job(_) => false,
        }
    }

    /// Returns what makes the entry a request, if it is one.
    pub fn request(&self) -> Option<&Request> {
        match &self.audience {
            Audience::Request { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether a session that joined at `since` receives the entry because of its type, or because the entry names it.
    pub fn admits(&self, id: SessionId, kind: ClientType, since: Position) -> bool {
        let addressed = match &self.audience {
            Audience::Types(kinds) => kinds.contains(kind),
            Audience::Reporters { sessions, .. } => sessions.contains(&id),
            Audience::One { session, .. } => *session == id,
            Audience::Job(job) => job.session == id,
            // Which session of the node it is for is decided when it is delivered.
            Audience::User { .. } | Audience::Request { .. } => false,
        };
        addressed && self.position.is_after(since) && self.author != Some(id)
    }
}
