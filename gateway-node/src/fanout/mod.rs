//! Delivery from the log to outboxes, on each worker: the queue of entries, and the sessions grouped by what they
//! receive.

pub(crate) mod delivery_queue;
pub(crate) mod discord_batch;
pub(crate) mod group_batch;
pub(crate) mod join_window;
pub(crate) mod member;
pub(crate) mod receipts;
pub(crate) mod scopes;
pub(crate) mod subscriber_groups;
pub(crate) mod v1_batch;
