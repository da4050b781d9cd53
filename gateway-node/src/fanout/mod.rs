//! The way from the log to outboxes, on each worker: the queue of entries, and the sessions grouped by what they receive.

pub(crate) mod bundle;
pub(crate) mod feed;
pub(crate) mod member;
pub(crate) mod parcel;
pub(crate) mod room;
