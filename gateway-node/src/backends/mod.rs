//! The implementations of the contracts [`backplane`](crate::backplane) and [`resume`](crate::resume), side by side.
//!
//! The suite in `conformance` runs the same tests against each of them. No implementation depends on another.

#[cfg(test)]
mod conformance;
mod memory;
mod redis;

#[doc(hidden)]
pub use self::redis::log_entry;
#[cfg(test)]
pub(crate) use self::redis::test_server::TestServer;
pub use self::{
    memory::{IdSource, MemoryBackplane, MemoryJobs, MemoryLimits, MemorySessions, MemoryTickets},
    redis::{
        KeyRecords, KeyStore, KeyStoreError, RedisBackplane, RedisJobs, RedisOptions, RedisSessions, RedisSetupError,
        RedisTickets, RedisTls,
    },
};
