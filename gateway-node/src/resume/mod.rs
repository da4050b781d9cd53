//! Discord sessions as the nodes share them: what a session identified with, how far its client is, who has it now.
//!
//! Events are kept once, in the log. Of a session there is only what cannot be found there again: its record, a point
//! from which to walk on ([`Checkpoint`]), and the dispatches that were for it alone ([`PrivateRecord`]). How its bot is seen goes
//! out as events like others; beside the session stands what is to be told when it is over.

mod ownership;
pub(crate) mod presence;
pub(crate) mod presence_queue;
mod presence_tracker;
mod record;
mod sessions;
mod starts;
mod store;

pub use self::{
    ownership::{PrivateWrite, SessionOwnership},
    presence::{PresenceChange, PresencePayload, PresencePublisher, VoicePayload},
    record::{
        Checkpoint, OpenedSession, PrivateBody, PrivateRecord, Recipe, Record, ResumeError, ResumeParams,
        ResumedSession,
    },
    sessions::DiscordSessions,
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
