//! The clients of one node, in a process of their own: one process has not enough descriptors for all.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::{
    contest::{ClientPool, ClientRole, ContestTarget},
    gateway,
};

/// What these clients are told.
#[derive(Debug, Clone, Args)]
pub struct NodeClientsOptions {
    /// The node
    #[arg(long)]
    pub address: SocketAddr,
    /// The key that they show
    #[arg(long)]
    pub key: String,
    /// How many they are
    #[arg(long)]
    pub sockets: u32,
    /// Events that each of them waits for
    #[arg(long)]
    pub events: u32,
}

/// What they have had.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeClientsReport {
    /// Events that arrived.
    pub(super) deliveries: u64,
    /// Those that came out of their order.
    pub(super) disordered: u64,
}

/// What such a process prints once everybody is in.
const READY: &str = "ready";

/// Lets everybody in, says so, waits for the events, and says what came; a line each on standard output.
///
/// # Errors
/// When the node does not let them in, or closes a connection.
pub fn watch(options: &NodeClientsOptions) -> Result<()> {
    let target = ContestTarget::node(options.address, &options.key);
    let mut pool = ClientPool::new(&target, options.sockets)?;
    pool.join(options.sockets, ClientRole::Receiver)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}")?;
    let expected = u64::from(options.sockets) * u64::from(options.events);
    pool.turn_until(|stats| stats.deliveries >= expected)?;
    let stats = pool.take();
    let report = NodeClientsReport {
        deliveries: stats.deliveries,
        disordered: stats.disordered,
    };
    writeln!(stdout, "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

/// Such a process; killed when it is dropped.
pub(super) struct NodeClients {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl NodeClients {
    /// Starts it.
    pub(super) fn start(options: &NodeClientsOptions) -> Result<Self> {
        let mut child = Command::new(gateway::beside("scale")?)
            .arg("onlookers")
            .args(["--address", &options.address.to_string()])
            .args(["--key", &options.key])
            .args(["--sockets", &options.sockets.to_string()])
            .args(["--events", &options.events.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the clients of a node")?;
        let stdout = BufReader::new(child.stdout.take().context("a child has no stdout")?);
        Ok(Self { child, stdout })
    }

    /// Waits until everybody is in.
    pub(super) fn wait_until_connected(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == READY, "the clients of a node said {line:?}");
        Ok(())
    }

    /// Waits until they have had everything, or have given up.
    pub(super) fn report(&mut self) -> Result<NodeClientsReport> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the clients of a node said {line:?}"))
    }

    /// They have a deadline of their own for everything that they wait for.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for NodeClients {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
