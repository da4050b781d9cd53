//! `gateway-node cluster`: lists the nodes of a cluster.

use std::io::Write;

use clap::Args;
use serde::Deserialize;

use super::{
    query::{EXIT_CODES, Query, QueryArgs, QueryError},
    table::Table,
};
use crate::config::Permission;

/// The options of `cluster`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("Examples:\n  gateway-node cluster --config /etc/utilbot/gateway.toml\n  \
                              gateway-node cluster --url https://gateway.example.com --json\n\n{EXIT_CODES}"))]
pub struct ClusterArgs {
    /// A node of the cluster, and the key.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// The node's answer to `GET /api/v1/cluster`.
#[derive(Deserialize)]
pub(super) struct ClusterAnswer {
    pub(super) node: AskedNode,
    /// Empty if the node has no Redis, `None` while Redis is unavailable.
    pub(super) nodes: Option<Vec<ListedNode>>,
    pub(super) sessions: Option<u64>,
}

/// The node that answers.
#[derive(Deserialize)]
pub(super) struct AskedNode {
    pub(super) name: String,
    pub(super) version: String,
    /// 0 from a node that is too old to say.
    #[serde(default)]
    pub(super) uptime_seconds: u64,
}

/// A node of the cluster.
#[derive(Deserialize)]
pub(super) struct ListedNode {
    node: String,
    version: String,
    pub(super) state: String,
    sessions: u64,
    lease_ms: u64,
}

/// Prints the nodes.
pub(super) fn run(
    args: &ClusterArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
) -> Result<(), QueryError> {
    let query = Query::new(&args.query, Permission::Read, environment)?;
    let body = query.get("/api/v1/cluster")?;
    if args.json {
        return Ok(writeln!(out, "{}", body.trim())?);
    }
    let ClusterAnswer { node, nodes, sessions } = query.parse(&body)?;
    let AskedNode { name, version, .. } = node;
    match (nodes, sessions) {
        (None, _) => writeln!(
            out,
            "{name} {version}: Redis is unavailable, so the other nodes are not known"
        )?,
        (Some(nodes), _) if nodes.is_empty() => writeln!(out, "{name} {version}: a single node, without Redis")?,
        (Some(nodes), sessions) => {
            let mut table = Table::new(["NODE", "STATE", "SESSIONS", "LEASE", "VERSION"]);
            for node in nodes {
                let lease = format!("{} ms", node.lease_ms);
                table.add([node.node, node.state, node.sessions.to_string(), lease, node.version]);
            }
            write!(out, "{table}")?;
            writeln!(out, "{} sessions", sessions.unwrap_or(0))?;
        }
    }
    Ok(())
}
