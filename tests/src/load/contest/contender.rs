//! What is compared, and how each is started.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{
    super::{
        cores::{Cores, pin_thread},
        gateway::{self, Gateway},
        usage::Usage,
    },
    dialect::{Broadcast, Dialect, Utilbot},
};

/// One of those that are compared. On the command line and in tables it has the name that is given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// `gateway`: the node of this repository.
    Gateway,
    /// `gateway-again`: the same once more, to show what two of the same differ by.
    GatewayAgain,
    /// `gateway-zlib`: the same, with receivers that ask for `compression=zlib`.
    GatewayZlib,
    /// `other`: another binary of the node, to compare two of them.
    Other,
    /// `loop`: one thread around `epoll`, one write for each event and socket.
    Loop,
    /// `loop-joined`: the same; what has come at once leaves in one write.
    LoopJoined,
}

const NAMES: [(Contender, &str); 6] = [
    (Contender::Gateway, "gateway"),
    (Contender::GatewayAgain, "gateway-again"),
    (Contender::GatewayZlib, "gateway-zlib"),
    (Contender::Other, "other"),
    (Contender::Loop, "loop"),
    (Contender::LoopJoined, "loop-joined"),
];

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(contender, _)| contender == self);
        f.pad(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(contender, _)| *contender).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// What all contenders of a run have in common.
#[derive(Debug)]
pub(in super::super) struct Setting {
    /// Where the contender and its clients run; anywhere without it.
    pub(in super::super) cores: Option<Cores>,
    /// The node's binary.
    pub(in super::super) gateway: PathBuf,
    /// The other one.
    pub(in super::super) other: Option<PathBuf>,
    /// Clients that there will be at a time.
    pub(in super::super) clients: u32,
}

impl Setting {
    /// Starts a contender.
    pub(in super::super) fn start(&self, contender: Contender) -> Result<Server> {
        match contender {
            Contender::Gateway | Contender::GatewayAgain => self.node(&self.gateway, false),
            Contender::GatewayZlib => self.node(&self.gateway, true),
            Contender::Other => {
                let binary = self.other.as_deref().context("`other` needs --other PATH")?;
                self.node(binary, false)
            }
            Contender::Loop => self.bare_loop("single"),
            Contender::LoopJoined => self.bare_loop("joined"),
        }
    }

    /// A node with everything switched on; only what would stop the clients is wider.
    fn node(&self, binary: &Path, is_zlib: bool) -> Result<Server> {
        let settings = [
            ("limits.connections", (self.clients + 16).to_string()),
            ("limits.payloads_per_minute", 1_000_000_000.to_string()),
            // The clients do not beat by themselves.
            ("v1.heartbeat_interval_ms", 3_600_000.to_string()),
        ];
        let node = Gateway::start(binary, &settings, self.cores)?;
        Ok(Server {
            address: node.address,
            dialect: Box::new(Utilbot::new(&node.key, is_zlib)),
            process: Process::Node(node),
        })
    }

    fn bare_loop(&self, mode: &str) -> Result<Server> {
        let mut command = Command::new(gateway::beside("bare_loop")?);
        command.arg(mode);
        let (child, address) = self.spawn(&mut command)?;
        Ok(Server {
            address,
            dialect: Box::new(Broadcast),
            process: Process::Child(child),
        })
    }

    /// Starts a program that prints its address on the first line, on its core.
    fn spawn(&self, command: &mut Command) -> Result<(ChildGuard, SocketAddr)> {
        if let Some(cores) = self.cores {
            pin_thread(cores.node)?;
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        if let Some(cores) = self.cores {
            pin_thread(cores.clients)?;
        }
        let mut child = ChildGuard(child.with_context(|| format!("starting {command:?}"))?);
        let stdout = child.0.stdout.take().context("a child has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .map_err(|_| anyhow!("{command:?} printed {line:?}"))?;
        Ok((child, address))
    }
}

/// A contender that listens; it is killed when this is dropped.
pub(in super::super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) dialect: Box<dyn Dialect>,
    process: Process,
}

enum Process {
    Node(Gateway),
    Child(ChildGuard),
}

struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// What it has used so far.
    pub(in super::super) fn usage(&self) -> Result<Usage> {
        match &self.process {
            Process::Node(node) => node.usage(),
            Process::Child(child) => Usage::of(child.0.id()),
        }
    }

    /// Whether it has ended, and if so with what.
    pub(in super::super) fn check(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Node(node) => {
                if let Some(status) = node.exited()? {
                    bail!("the node ended: {status}\n{}", node.log()?);
                }
            }
            Process::Child(child) => {
                let ended = child.0.try_wait()?;
                ensure!(ended.is_none(), "a contender ended: {ended:?}");
            }
        }
        Ok(())
    }
}

/// How long a contender may take for anything before the run is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
