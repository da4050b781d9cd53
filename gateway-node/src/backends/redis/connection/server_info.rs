//! What a server says about itself.

use super::problem::RedisProblem;

/// The oldest server version that has what the scripts use.
const OLDEST: (u32, u32) = (6, 2);

/// What the server reports in `INFO`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// The run id of its process.
    pub(super) run: String,
    pub(super) version: String,
}

impl ServerInfo {
    /// Parses the reply to `INFO`. Rejects a server that cannot give the guarantees that the node relies on.
    pub(super) fn check(address: &str, info: &str) -> Result<Self, RedisProblem> {
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            info.lines().find_map(value)
        };
        let address = address.to_owned();
        let version = field("redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            return Err(RedisProblem::TooOld { address, version });
        }
        if field("role").is_some_and(|role| role != "master") {
            return Err(RedisProblem::Replica { address });
        }
        match field("maxmemory_policy") {
            Some(policy) if policy != "noeviction" => return Err(RedisProblem::Evicts { address, policy }),
            _ => {}
        }
        let run = field("run_id").ok_or_else(|| RedisProblem::ReplyResult {
            address,
            cause: "INFO without run_id".to_owned(),
        })?;
        Ok(Self {
            run,
            version: field("valkey_version").map_or(version, |version| format!("valkey {version}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\n\
        maxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\n";

    fn check(from: &str, to: &str) -> Result<ServerInfo, String> {
        ServerInfo::check("host:1", &INFO.replace(from, to)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_suitable_server_passes_the_check() {
        let info = check("", "").unwrap();
        assert_eq!(info.run, "abc");
        assert!(check("7.0.15", "6.2.0").is_ok());
    }

    #[test]
    fn each_unsuitable_server_is_reported_in_one_line() {
        for (from, to, line) in [
            (
                "7.0.15",
                "6.0.16",
                "redis at host:1 is 6.0.16, too old: 6.2 is the oldest that works",
            ),
            (
                "noeviction",
                "allkeys-lru",
                "redis at host:1 evicts keys (maxmemory-policy allkeys-lru): set it to noeviction",
            ),
            (
                "role:master",
                "role:slave",
                "redis at host:1 is a replica: redis.url must name the primary",
            ),
            ("run_id", "other", "redis at host:1 answers: INFO without run_id"),
        ] {
            assert_eq!(check(from, to), Err(line.to_owned()));
        }
    }
}
