//! The servers of a run: a Redis, three nodes that share it, and one node that shares nothing.

use std::path::Path;

use anyhow::Result;
use gateway_harness::{KEYS, RedisServer, eventually, key};
use tokio::runtime::{Builder, Runtime};

use super::{
    super::{gateway::Gateway, http::Http, usage::Usage},
    LOG_AGE_MS, LOG_BYTES, LOG_ENTRIES, NODES,
};

/// Bots alone receive, so that who sends hears nothing.
pub(in super::super) const EVENTS: &str = r#"
[[events]]
name = "announce"
from = ["website", "service"]
to = ["bot"]
"#;

/// What Redis is told: it writes its append-only file anew when it is asked to, and not by itself while something is
/// measured.
const DIRECTIVES: [(&str, &str); 1] = [("auto-aof-rewrite-percentage", "0")];

/// All servers of a run.
pub(super) struct ClusterServers {
    /// The nodes that share the Redis.
    pub(super) nodes: Vec<Gateway>,
    /// The node that shares nothing.
    pub(super) alone: Gateway,
    redis: RedisServer,
    /// What the Redis is started and waited for on; it goes after it.
    _runtime: Runtime,
}

impl ClusterServers {
    /// Starts everything and waits until it is ready.
    pub(super) fn start(binary: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let redis = runtime.block_on(RedisServer::start_with(&DIRECTIVES));
        let file = format!("{KEYS}{EVENTS}");
        let mut settings = vec![
            ("limits.payloads_per_minute", u32::MAX.to_string()),
            // Nobody here beats.
            ("v1.heartbeat_interval_ms", "86400000".to_owned()),
            // Who is not listened to while others are measured keeps what it was sent.
            ("limits.outbox_bytes", "1073741824".to_owned()),
            ("limits.outbox_age_ms", "86400000".to_owned()),
            ("cluster.lease_ms", "2000".to_owned()),
            ("cluster.log_entries", LOG_ENTRIES.to_string()),
            ("cluster.log_age_ms", LOG_AGE_MS.to_string()),
            ("cluster.log_bytes", LOG_BYTES.to_string()),
        ];
        let alone = Gateway::start_with(binary, &settings, &file)?;
        settings.push(("redis.url", redis.url()));
        let nodes = (0..NODES).map(|_| Gateway::start_with(binary, &settings, &file));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        for node in nodes.iter().chain([&alone]) {
            let mut http = Http::connect(node.address, &key("root"))?;
            runtime.block_on(eventually("a node is ready", async || {
                http.is_ready().ok().filter(|is_ready| *is_ready)
            }));
        }
        Ok(Self {
            nodes,
            alone,
            redis,
            _runtime: runtime,
        })
    }

    /// Where Redis listens.
    pub(super) fn redis_port(&self) -> u16 {
        self.redis.port()
    }

    /// What each node, Redis and this process have used so far.
    pub(super) fn usages(&self) -> Result<Vec<Usage>> {
        let nodes = self.nodes.iter().map(Gateway::usage);
        let others = [self.redis.pid(), std::process::id()].map(Usage::of);
        nodes.chain(others).collect()
    }

    /// What the nodes have logged: warnings and worse.
    pub(super) fn log(&self) -> Result<String> {
        let logs = self.nodes.iter().chain([&self.alone]).map(Gateway::log);
        logs.collect()
    }
}
