//! Why a node cannot start or go on.

use std::io;

use crate::{
    auth::KeyError,
    backends::RedisSetupError,
    transport::{ListenError, TlsError},
};

/// Why a node cannot start or keep running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The development key is invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An address is in use or must not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The clock is outside the range in which ids can be generated.
    #[error("cannot generate ids: {0}")]
    Ids(#[from] shared::snowflake::SnowflakeError),
    /// The Redis client cannot be set up with this configuration.
    #[error(transparent)]
    Redis(#[from] RedisSetupError),
    /// Another system error.
    #[error("system error: {0}")]
    Io(#[from] io::Error),
}
