//! An event before the log has accepted it.

use std::sync::Arc;

use shared::{client_type::ClientTypes, discord::Header, routing::Delivery, session_id::SessionId, user::UserId};

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
