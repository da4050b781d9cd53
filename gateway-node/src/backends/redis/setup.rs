//! How a server is described before anything connects to it.

use std::{fs, io, path::Path};

use redis::RedisError;
use secrecy::SecretString;

use super::connection::redis_connection::RedisServer;

/// Why the backplane cannot be created. An unavailable server is not a reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisSetupError {
    /// The URL is not that of a server.
    #[error("redis.url cannot be used: {0}")]
    Url(#[from] RedisError),
    /// The certificate of the authority cannot be read.
    #[error("redis.ca cannot be read: {0}")]
    Authority(#[from] io::Error),
}

/// Describes the server at this URL. If `authority` is given, the server's certificate is verified against it.
pub(super) fn server_of(url: &SecretString, authority: Option<&Path>) -> Result<RedisServer, RedisSetupError> {
    let authority = authority.map(fs::read).transpose()?;
    Ok(RedisServer::new(url, authority.as_deref())?)
}
