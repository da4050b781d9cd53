//! Resumable Discord sessions, shared by all nodes: what a session identified with, how far its client is, and which
//! connection owns it.
//!
//! Events are stored once, in the log. A session stores only what cannot be found there: its record, a [`Checkpoint`]
//! from which to count its dispatches, and the dispatches that only it received ([`PrivateRecord`]). Presence and voice
//! states of its bot are published as ordinary events. The events that undo them are stored beside the session and
//! published when it ends.

mod ownership;
pub(crate) mod presence;
mod presence_publisher;
pub(crate) mod presence_queue;
mod presence_tracker;
mod record;
mod sessions;
mod starts;
mod store;

pub use self::{
    ownership::{PrivateWrite, SessionOwnership},
    presence::{PresenceChange, PresencePayload, VoicePayload},
    presence_publisher::PresencePublisher,
    record::{Checkpoint, PrivateBody, PrivateRecord, Recipe, Record, ResumeError, ResumeParams},
    sessions::{DiscordSessions, OpenedSession, ResumedSession},
    starts::{StartBudget, StartLimits},
    store::{FollowGuard, LogPage, OpenedRow, ReadError, ResumedRow, Store},
};
pub(crate) use self::{
    presence::{PRESENCE_UPDATE, PresenceEvent, VOICE_STATE_UPDATE},
    presence_queue::{PresenceQueue, pause_after},
    presence_tracker::{PresenceTracker, ShardCoverage},
    starts::{DAY, Starts, WINDOW},
    store::{PRIVATE_BYTES, SLOW_CUTS, SessionContinuation},
};
