//! The servers of a run: a Redis, three nodes that share it, and one node without Redis.

use std::path::Path;

use anyhow::Result;
use gateway_harness::{KEYS, RedisProcess, eventually, key};
use tokio::runtime::{Builder, Runtime};

use super::{
    super::{gateway::Gateway, http::Http, usage::Usage},
    LOG_AGE_MS, LOG_BYTES, LOG_ENTRIES, NODES,
};

/// Routes the event to bots only, so that senders receive nothing.
pub(in super::super) const EVENTS: &str = r#"
[[events]]
name = "announce"
from = ["website", "service"]
to = ["bot"]
"#;

/// Redis directives: the append-only file is rewritten only on request, never on its own during a measurement.
const DIRECTIVES: [(&str, &str); 1] = [("auto-aof-rewrite-percentage", "0")];

/// All servers of a run.
pub(super) struct ClusterServers {
    /// The nodes that share the Redis.
    pub(super) nodes: Vec<Gateway>,
    /// The node without Redis.
    pub(super) alone: Gateway,
    redis: RedisProcess,
    /// The settings and the configuration file of the nodes that share the Redis.
    settings: Vec<(&'static str, String)>,
    file: String,
    /// The runtime that Redis was started on. Declared after `redis`, so that it is dropped after it.
    runtime: Runtime,
}

impl ClusterServers {
    /// Starts all servers and waits until they are ready.
    pub(super) fn start(binary: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let redis = runtime.block_on(RedisProcess::start_with(&DIRECTIVES));
        let file = format!("{KEYS}{EVENTS}");
        let mut settings = vec![
            ("limits.payloads_per_minute", u32::MAX.to_string()),
            // The clients send no heartbeats, and expect no pings.
            ("v1.heartbeat_interval_ms", "86400000".to_owned()),
            ("v1.ping_interval_ms", "0".to_owned()),
            // A receiver is not read while other measurements run; its outbox must not overflow.
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
            wait_until_ready(node, &runtime)?;
        }
        Ok(Self {
            nodes,
            alone,
            redis,
            settings,
            file,
            runtime,
        })
    }

    /// Starts another node that shares the Redis, and waits until it is ready.
    pub(super) fn another_node(&self, binary: &Path) -> Result<Gateway> {
        let node = Gateway::start_with(binary, &self.settings, &self.file)?;
        wait_until_ready(&node, &self.runtime)?;
        Ok(node)
    }

    /// Returns the port of Redis.
    pub(super) fn redis_port(&self) -> u16 {
        self.redis.port()
    }

    /// Returns what each node, Redis and this process have used so far, in this order.
    pub(super) fn usages(&self) -> Result<Vec<Usage>> {
        let nodes = self.nodes.iter().map(Gateway::usage);
        nodes.chain(self.shared_usages()).collect()
    }

    /// Returns what Redis and this process have used so far.
    pub(super) fn shared_usages(&self) -> [Result<Usage>; 2] {
        [self.redis.pid(), std::process::id()].map(Usage::of)
    }

    /// Returns what the nodes have logged, at level `warn` and above.
    pub(super) fn log(&self) -> Result<String> {
        let logs = self.nodes.iter().chain([&self.alone]).map(Gateway::log);
        logs.collect()
    }
}

fn wait_until_ready(node: &Gateway, runtime: &Runtime) -> Result<()> {
    let mut http = Http::connect(node.address, &key("root"))?;
    runtime.block_on(eventually("a node is ready", async || {
        http.is_ready().ok().filter(|is_ready| *is_ready)
    }));
    Ok(())
}
