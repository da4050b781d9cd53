//! What the nodes of a cluster share: the log of events, who is connected, what bots reported, and who may have
//! which id.
//!
//! Everything is behind [`Backplane`]; the node is given one and knows no more. Nothing here knows a session, a socket
//! or a registry: what the log has accepted is handed to a [`Deliver`]. The invariants that every implementation keeps
//! are in `docs/architecture.md`; the suite in `conformance` holds each of them to the same behaviour.

mod backplane;
#[cfg(test)]
mod conformance;
mod discord;
mod entry;
mod memory;
mod redis;
mod report_changes;
mod report_rates;

#[doc(hidden)]
pub use self::redis::log_entry;
#[cfg(test)]
pub(crate) use self::redis::test_server::TestServer;
pub use self::{
    backplane::{
        Away, Backplane, Deliver, Epoch, Haste, Idempotency, JoinError, Joined, Joining, LogStatus, Peer, Pending,
        Position, Publication, PublishError, Publishing, Status,
    },
    discord::{
        Appearing, Attachment, Begun, Checkpoint, DiscordSessions, Guise, Keeping, LogPage, MemorySessions, Opened,
        Owner, Presence, Private, ReadError, Recipe, Record, ResumeError, Resumed, Resuming, StartBudget, StartLimits,
        Store, Taken, Voice, What, Wish,
    },
    entry::{Audience, Entry},
    memory::{IdSource, MemoryBackplane, MemoryLimits},
    redis::{KeyRecords, KeyStore, KeyStoreError, RedisBackplane, RedisOptions, RedisSessions, RedisSetupError},
    report_rates::ReportLimits,
};
