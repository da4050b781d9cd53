//! The reasons why the server cannot be used.

use redis::{ErrorKind, RedisError, ServerError};

/// A problem that an operator has to fix or wait out. Its text is one line and never contains a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(in crate::backends::redis) enum RedisProblem {
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
    #[error("redis at {address} takes no writes: fewer replicas are in sync than min-replicas-to-write (NOREPLICAS)")]
    TooFewReplicas { address: String },
    #[error("redis at {address} takes no writes: it cannot write to its disk (MISCONF), its log says why")]
    CannotSave { address: String },
    #[error("redis at {address} answers: {cause}")]
    ReplyResult { address: String, cause: String },
    #[error("redis at {address} does not answer")]
    Silent { address: String },
    #[error("redis at {address} has registered somebody else under this node's name")]
    Fenced { address: String },
}

impl RedisProblem {
    /// Converts an error of a connection to `address`.
    pub(in crate::backends::redis) fn of(address: &str, error: &RedisError) -> Self {
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

    /// Converts an error reply.
    pub(in crate::backends::redis) fn of_answer(address: &str, error: &ServerError) -> Self {
        Self::of_code(address.to_owned(), code_of(error), error.details().unwrap_or_default())
    }

    /// Converts the text of an error that a script has caught and returned.
    pub(in crate::backends::redis) fn of_script(address: &str, text: &str) -> Self {
        // Redis before version 7 puts the line of the script before it.
        let text = text.rsplit_once(": -").map_or(text, |(_, error)| error);
        let (code, details) = text.split_once(' ').unwrap_or((text, ""));
        Self::of_code(address.to_owned(), code, details)
    }

    /// The kinds of problems, as the metrics name them.
    pub(in crate::backends::redis) const KINDS: [&'static str; 11] = [
        "unreachable",
        "refused",
        "too_old",
        "evicts",
        "replica",
        "out_of_memory",
        "too_few_replicas",
        "cannot_save",
        "error",
        "silent",
        "fenced",
    ];

    /// The kind of the problem, as the metrics name it.
    pub(in crate::backends::redis) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::TooOld { .. } => "too_old",
            Self::Evicts { .. } => "evicts",
            Self::Replica { .. } => "replica",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::TooFewReplicas { .. } => "too_few_replicas",
            Self::CannotSave { .. } => "cannot_save",
            Self::ReplyResult { .. } => "error",
            Self::Silent { .. } => "silent",
            Self::Fenced { .. } => "fenced",
        }
    }

    /// Whether the connection is lost, or gives no more replies.
    pub(in crate::backends::redis) const fn is_cut(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. })
    }

    fn of_code(address: String, code: &str, details: &str) -> Self {
        let cause = one_line(&format!("{code} {details}"));
        match code {
            "WRONGPASS" | "NOAUTH" | "NOPERM" => Self::Refused { address, cause },
            "OOM" => Self::OutOfMemory { address },
            "NOREPLICAS" => Self::TooFewReplicas { address },
            "MISCONF" => Self::CannotSave { address },
            "READONLY" => Self::Replica { address },
            _ => Self::ReplyResult { address, cause },
        }
    }
}

/// Errors with which the server refuses a command before changing anything. Inside a script, errors about memory,
/// replicas and the disk occur at its first write or not at all. NOSCRIPT is not listed: the next connection loads the
/// scripts.
const REFUSALS: [&str; 13] = [
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "READONLY",
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "NOAUTH",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CROSSSLOT",
];

/// Whether an error guarantees that its command has changed nothing. After any other error, a script may have changed
/// something before it failed.
pub(in crate::backends::redis) fn is_refusal(error: &ServerError) -> bool {
    let code = code_of(error);
    // A script may lack the permission for a command in its middle.
    let is_of_a_script = || error.details().is_some_and(|details| details.contains("script"));
    REFUSALS.contains(&code) || (code == "NOPERM" && !is_of_a_script())
}

/// The code of an error. Redis before version 7 embeds the code of a script's command in a sentence.
fn code_of(error: &ServerError) -> &str {
    let inner = || {
        let details = error.details()?;
        let script = details.strip_prefix("Error running script")?;
        let (_, cause) = script.rsplit_once(": -")?;
        cause.split(' ').next()
    };
    inner().unwrap_or_else(|| error.code())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn error(line: &str) -> ServerError {
        match parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn only_commands_that_changed_nothing_count_as_refused() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'. script: 9f1b, on @user_script:156.",
            "NOREPLICAS Not enough good replicas to write. script: 9f1b, on @user_script:12.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "READONLY You can't write against a read only replica. script: 9f1b, on @user_script:12.",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            // Redis 6.2.
            "ERR Error running script (call to f_9f1b): @user_script:7: @user_script: 7: -OOM command not allowed when \
             used memory > 'maxmemory'.",
        ] {
            assert!(is_refusal(&error(line)), "{line}");
        }
        for line in [
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 9f1b, on @user_script:3.",
            "NOPERM User gateway has no permissions to run the 'xadd' command script: 9f1b, on @user_script:156.",
            "NOSCRIPT No matching script. Please use EVAL.",
            "ERR Error running script (call to f_9f1b): @user_script:7: user_script:7: attempt to index a nil value",
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
        ] {
            assert!(!is_refusal(&error(line)), "{line}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_names_its_cause() {
        for (line, part) in [
            ("OOM command not allowed", "is out of memory"),
            (
                "ERR Error running script (call to f_9f1b): @user_script:7: @user_script: 7: -OOM command not allowed",
                "is out of memory",
            ),
            ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                "its disk",
            ),
            ("READONLY You can't write against a read only replica.", "is a replica"),
            ("LOADING Redis is loading", "answers: LOADING Redis is loading"),
        ] {
            let problem = RedisProblem::of_answer("host:1", &error(line)).to_string();
            assert!(problem.contains(part) && problem.lines().count() == 1, "{problem}");
        }
    }
}
