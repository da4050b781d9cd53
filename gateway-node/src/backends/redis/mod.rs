//! The backplane of nodes that share a Redis server. The log, the membership and the counts are stored there, and
//! changed only by scripts.
//!
//! ```text
//! publish ─▶ publisher ─▶ connection ══▶ Redis ══▶ subscriber ─▶ follower ─▶ Deliver
//! join, leave, report ─▶ members ─▶ connection    periodic: leases, log heads, counts, reaping
//! ```
//!
//! A `RedisConnection` is one checked connection. Everything that uses it ends with it; `ConnectionSupervisor` makes the
//! next one, registers the node under a higher fence, and starts everything again. The scripts refuse commands that a
//! lost connection still delivers, so nothing is repeated blindly. The keys are described in
//! `scripts/functions/keys.lua`.

mod application;
mod backplane;
mod bounded_query;
mod cluster_commands;
mod command_calls;
mod connection;
#[cfg(test)]
mod foreign_tests;
mod guilds;
mod jobs;
mod keys;
mod log;
mod membership;
mod options;
#[cfg(test)]
mod receiver_tests;
mod replies;
mod reply_queue;
#[cfg(test)]
mod report_tests;
mod scripts;
mod sessions;
mod shared;
#[cfg(test)]
mod test_node;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
mod tickets;
mod tls;

pub use self::{
    backplane::RedisBackplane,
    jobs::RedisJobs,
    keys::{KeyStore, KeyStoreError},
    options::RedisOptions,
    sessions::RedisSessions,
    shared::KeyRecords,
    tickets::RedisTickets,
    tls::{RedisSetupError, RedisTls},
};

/// Parsing and formatting of entries, for the fuzz targets of `tests`.
#[doc(hidden)]
pub mod log_entry {
    pub use super::log::wire::{JobLabel, Label, NoEntry, Origin, StoredEntry, decode, label, split_message};
}
