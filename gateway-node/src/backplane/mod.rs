//! What the nodes of a cluster share: the log of events, who is connected, what bots reported, and who may have
//! which id.
//!
//! Everything is behind [`Backplane`]; the node is given one and knows no more. Nothing here knows a session, a socket
//! or a registry: what the log has accepted is handed to a [`Deliver`]. The invariants that every implementation keeps
//! are in `docs/architecture.md`; the implementations are in [`backends`](crate::backends).

mod contract;
mod entry;
mod owner;
pub(crate) mod report_changes;
pub(crate) mod report_rates;

pub use self::{
    contract::{
        Backplane, BackplaneStatus, Deliver, Epoch, Idempotency, JoinError, Joined, Joining, LogStatus, Peer, Pending,
        Position, Publication, PublishError, Publishing, Unavailable, WhenUnavailable,
    },
    entry::{Audience, Entry},
    owner::Owner,
    report_rates::ReportLimits,
};
