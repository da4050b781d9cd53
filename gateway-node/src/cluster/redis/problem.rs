//! Why the server cannot be used now.

use redis::{ErrorKind, RedisError, ServerError};

/// What a person has to do something about, or wait for. One line each; it never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Problem {
    #[error("redis at {address} cannot be reached: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("redis at {address} refuses the user or the password of redis.url: {cause}")]
    Refused { address: String, cause: String },
    #[error("redis at {address} is {version}, too old: 6.2 is the oldest that works")]
    TooOld { address: String, version: String },
    #[error("redis at {address} evicts keys (maxmemory-policy {policy}): set it to noeviction")]
    Evicts { address: String, policy: String },
    #[error("redis at {address} is a replica: redis.url must name the primary")]
    Replica { address: String },
    #[error("redis at {address} is out of memory")]
    OutOfMemory { address: String },
    #[error("redis at {address} answers: {cause}")]
    Answer { address: String, cause: String },
    #[error("redis at {address} does not answer")]
    Silent { address: String },
    #[error("redis at {address} has registered somebody else under this node's name")]
    Fenced { address: String },
}

impl Problem {
    /// What went wrong with a connection to `address`.
    pub(super) fn of(address: &str, error: &RedisError) -> Self {
        let address = address.to_owned();
        if let Some(code) = error.code() {
            return Self::of_code(address, code, error.detail().unwrap_or_default());
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Refused {
                address,
                cause: error.detail().unwrap_or("authentication failed").to_owned(),
            },
            _ if error.is_timeout() => Self::Silent { address },
            _ => Self::Unreachable {
                address,
                cause: one_line(&error.to_string()),
            },
        }
    }

    /// What an answer means that is an error.
    pub(super) fn of_answer(address: &str, error: &ServerError) -> Self {
        Self::of_code(address.to_owned(), error.code(), error.details().unwrap_or_default())
    }

    fn of_code(address: String, code: &str, details: &str) -> Self {
        let cause = one_line(&format!("{code} {details}"));
        match code {
            "WRONGPASS" | "NOAUTH" | "NOPERM" => Self::Refused { address, cause },
            "OOM" => Self::OutOfMemory { address },
            "READONLY" => Self::Replica { address },
            _ => Self::Answer { address, cause },
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
