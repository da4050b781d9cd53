//! An event before the log has accepted it.

use std::sync::Arc;

use shared::{
    client_type::ClientTypes,
    discord::{Header, Target},
    routing::{Delivery, Route},
    session_id::SessionId,
    user::UserId,
};

use super::{job::Job, request::Request, trace_parent::TraceParent};

/// An event to append.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The event's name.
    pub name: Arc<str>,
    /// The client types that may receive it.
    pub receivers: ClientTypes,
    /// Which sessions of those types receive it.
    pub delivery: Delivery,
    /// The session that sent it, if one did.
    pub author: Option<SessionId>,
    /// The user who sent it, if the sender identified with a ticket that names one.
    pub user: Option<UserId>,
    /// Whether it is refused if no v1 session that may receive it is live.
    pub require_receiver: bool,
    /// Whether sessions of a ticket receive it if it is a broadcast.
    pub to_tickets: bool,
    /// The trace that it belongs to, if it was published over HTTP with a `traceparent`.
    pub trace: Option<Box<TraceParent>>,
    /// What makes it a request, which goes to one session. It never waits for a receiver.
    pub request: Option<Box<Request>>,
    /// What makes it a job. It has no place in the log: each of its deliveries has one.
    pub job: Option<Box<Job>>,
    /// What decides which Discord sessions receive it; `None` if none do.
    pub discord: Option<Arc<Header>>,
    /// Its data: one JSON object.
    pub d: Arc<str>,
}

impl Publication {
    /// Returns an event `n` for tests, with nothing that is optional.
    #[cfg(test)]
    pub(crate) fn example(delivery: Delivery, receivers: ClientTypes) -> Self {
        Self {
            name: "n".into(),
            receivers,
            delivery,
            author: None,
            require_receiver: false,
            user: None,
            to_tickets: false,
            trace: None,
            request: None,
            job: None,
            discord: None,
            d: "{}".into(),
        }
    }

    /// Creates an event with this data that goes where the table routes it, from a session of this user. It has no author
    /// yet.
    pub fn routed(route: Route<'_>, d: &str, user: Option<UserId>) -> Self {
        let header = || Arc::new(Header::of(route.name, d, Target::All, None));
        Self {
            name: Arc::clone(route.name),
            receivers: route.receivers,
            delivery: route.delivery,
            author: None,
            require_receiver: route.require_receiver,
            user,
            to_tickets: route.to_tickets,
            trace: None,
            request: None,
            job: route.job.map(|job| Box::new(Job::unnamed(job))),
            discord: route.to_discord.then(header),
            d: d.into(),
        }
    }
}
