//! This node's sessions of one application, and the state that Redis has of them.
//!
//! Keeps the desired state in memory, and brings the actual state in Redis to it in steps, a batch at a time. So
//! nothing has to be queued while the server is unavailable, and after any failure the same steps repair it.

pub(in crate::backends::redis) mod lease;
pub(in crate::backends::redis) mod maintenance;
mod member;
mod members;
mod op;
mod op_call;
pub(in crate::backends::redis) mod peers;
pub(in crate::backends::redis) mod reap_queue;
mod reconciler;
mod sending;

pub(super) use self::{members::Members, reconciler::Reconciler};
