//! A command whose caller waits only so long for its reply.

use std::time::Duration;

use redis::Cmd;

use super::connection::redis_connection::{RedisConnection, ReplyFields};
use crate::backplane::Unavailable;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a command and returns the fields of its reply. Fails if there is none in time; the command may have been applied.
pub(super) async fn bounded_query(connection: RedisConnection, command: Cmd) -> Result<ReplyFields, Unavailable> {
    match tokio::time::timeout(PATIENCE, connection.query(command)).await {
        Ok(Ok(fields)) => Ok(fields),
        Ok(Err(_)) | Err(_) => Err(Unavailable),
    }
}
