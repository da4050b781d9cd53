//! What the nodes of a cluster share: the event log, the membership of sessions, the reports of bots, and the
//! allocation of session ids.
//!
//! Everything is behind the [`Backplane`] trait, and the node knows no implementation. This module does not know
//! sessions, sockets or the registry: it hands accepted entries to a [`Deliver`]. The invariants that every
//! implementation keeps are in `docs/architecture.md`; the implementations are in [`backends`](crate::backends).

mod contract;
mod entry;
mod idempotency;
mod job;
mod jobs;
mod owner;
mod position;
mod publication;
pub(crate) mod report_changes;
pub(crate) mod report_rates;
mod request;
mod tickets;
mod trace_parent;

pub(crate) use self::job::JOB_OVERHEAD;
pub use self::{
    contract::{
        Backplane, BackplaneStatus, CommandReach, Deliver, JoinError, Joined, Joining, JoiningTicket, LogRange,
        LogStatus, Peer, PeerState, Pending, PublishError, Publishing, Unavailable, WhenUnavailable,
    },
    entry::{Audience, Entry},
    idempotency::Idempotency,
    job::{DeliveredJob, Job, JobLimits, JobRecord, JobState, Published, Settlement, Worker},
    jobs::{Jobs, LISTED_BYTES, name_jobs},
    owner::Owner,
    position::{Epoch, Position},
    publication::Publication,
    report_rates::ReportLimits,
    request::{NoAddress, Reply, ReplyAddress, Request, RequestTarget},
    tickets::{IssueError, NewTicket, Revocations, Ticket, TicketLimits, TicketRecord, Tickets},
    trace_parent::{InvalidTraceParent, TraceParent},
};
