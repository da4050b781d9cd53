//! The logs: appending, following, and reading older pages.

pub(in crate::backends::redis) mod acceptances;
pub(in crate::backends::redis) mod bounds;
pub(in crate::backends::redis) mod channel;
mod delivered_origins;
mod event_head;
pub(in crate::backends::redis) mod follower;
mod label;
pub(in crate::backends::redis) mod log_head;
pub(in crate::backends::redis) mod pages;
pub(in crate::backends::redis) mod publish_call;
pub(in crate::backends::redis) mod publish_queue;
pub(in crate::backends::redis) mod publisher;
pub(in crate::backends::redis) mod subscriber;
pub(in crate::backends::redis) mod wire;
