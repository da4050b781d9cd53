//! The clients of one node, in a process of their own, because one process cannot have enough descriptors for all of
//! them.

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

/// Options of the child process.
#[derive(Debug, Clone, Args)]
pub struct NodeClientsOptions {
    /// Address of the node
    #[arg(long)]
    pub address: SocketAddr,
    /// Key to identify with
    #[arg(long)]
    pub key: String,
    /// Number of clients
    #[arg(long)]
    pub sockets: u32,
    /// Events that each client waits for
    #[arg(long)]
    pub events: u32,
}

/// What the clients received.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeClientsReport {
    /// Events received.
    pub(super) deliveries: u64,
    /// Events received out of order or twice.
    pub(super) disordered: u64,
}

/// What the child process prints once all its clients are connected.
const READY: &str = "ready";

/// Runs the child process: connects all clients, prints `ready`, waits for the events, and prints what was received as
/// JSON.
///
/// # Errors
/// Fails if the node does not admit the clients, or closes a connection.
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

/// The child process with the clients of one node. It is killed on drop.
pub(super) struct NodeClients {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl NodeClients {
    /// Starts the process.
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
        let stdout = BufReader::new(child.stdout.take().context("the child has no stdout")?);
        Ok(Self { child, stdout })
    }

    /// Waits until all clients are connected.
    pub(super) fn wait_until_connected(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == READY, "the clients of a node printed {line:?}");
        Ok(())
    }

    /// Waits until the clients have received every event or have given up.
    pub(super) fn report(&mut self) -> Result<NodeClientsReport> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the clients of a node printed {line:?}"))
    }

    /// Reads a line. No timeout is needed: the child has one for everything that it waits for.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for NodeClients {
    fn drop(&mut self) {
        // Both fail only if the process has ended and has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
