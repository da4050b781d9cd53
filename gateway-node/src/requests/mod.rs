//! Requests of this node's clients: who waits for which reply.
//!
//! The requester's node decides the outcome of a request, once: by what comes first of a refusal, a reply, and its own
//! timer. So no two nodes have to agree on anything, and a lost reply is a timeout.

mod ask;
mod pending;
mod slots;

pub use self::{
    ask::{RequestError, Requests, new_receipt},
    pending::{NodeReplies, PendingReplies},
    slots::{RequestSlot, RequestSlots},
};
