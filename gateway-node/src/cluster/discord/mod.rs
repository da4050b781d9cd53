//! Discord sessions as the nodes share them: what a session identified with, how far its client is, who has it now.
//!
//! Events are kept once, in the log. Of a session there is only what cannot be found there again: its record, a point
//! from which to walk on ([`Checkpoint`]), and the dispatches that were for it alone ([`Private`]).

mod attachment;
mod book;
mod memory;
mod record;
mod sessions;
mod starts;
mod store;

pub use self::{
    attachment::{Attachment, Keeping},
    memory::MemorySessions,
    record::{Checkpoint, Opened, Owner, Private, Record, ResumeError, Resumed, Resuming, What},
    sessions::DiscordSessions,
    starts::{StartBudget, StartLimits},
    store::{Begun, LogPage, Presence, ReadError, Store, Taken},
};
use self::{book::Book, starts::Starts};
pub(in crate::cluster) use self::{
    book::{Continued, PRIVATE_BYTES, SLOW_CUTS},
    starts::{DAY, WINDOW},
};
