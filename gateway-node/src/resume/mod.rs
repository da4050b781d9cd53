//! Discord sessions as the nodes share them: what a session identified with, how far its client is, who has it now.
//!
//! Events are kept once, in the log. Of a session there is only what cannot be found there again: its record, a point
//! from which to walk on ([`Checkpoint`]), and the dispatches that were for it alone ([`Private`]). How its bot is seen goes
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
    ownership::{Attachment, Keeping},
    presence::{Appearing, Guise, Voice, Wish},
    record::{Checkpoint, Opened, Private, Recipe, Record, ResumeError, Resumed, Resuming, What},
    sessions::DiscordSessions,
    starts::{StartBudget, StartLimits},
    store::{Begun, LogPage, Presence, ReadError, Store, Taken},
};
pub(crate) use self::{
    presence::{Appearance, PRESENCE_UPDATE, VOICE_STATE_UPDATE},
    presence_queue::{Appearances, pause_after},
    presence_tracker::{Cover, Seen},
    starts::{DAY, Starts, WINDOW},
    store::{Continued, PRIVATE_BYTES, SLOW_CUTS},
};
