//! What is compared, and how each is started.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{
    super::{
        cores::{Cores, pin_thread},
        gateway::{self, Gateway},
        usage::Usage,
    },
    dialect::{Dialect, Utilbot},
    discord::Discord,
    peers::{Broadcast, Centrifuge, Nats, Nchan, SocketIo},
};

/// How long a contender may take for anything before the run is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How often a peer is asked whether it listens.
const ASKING: Duration = Duration::from_millis(20);
/// The event that is measured, to receivers of both protocols, who may all begin at once.
const EVENTS: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 65535
session_starts_per_day = 1000000

[[events]]
name = "announce"
from = ["bot", "website", "service"]
to = ["bot", "website", "discord"]
"#;
/// What a peer's script ends with when the peer is not installed.
const NOT_INSTALLED: i32 = 69;

/// One of those that are compared. On the command line and in tables it has the name that is given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// `gateway`: the node of this repository.
    Gateway,
    /// `gateway-again`: the same once more, to show what two of the same differ by.
    GatewayAgain,
    /// `gateway-zlib`: the same, with receivers that ask for `compression=zlib`.
    GatewayZlib,
    /// `discord`: the same, with receivers that speak version 10 of Discord's protocol.
    Discord,
    /// `discord-zlib`: the same with `compress=zlib-stream`.
    DiscordZlib,
    /// `gateway-two`: the same with two workers.
    GatewayTwo,
    /// `other`: another binary of the node, to compare two of them.
    Other,
    /// `loop`: one thread around `epoll`, one write for each event and socket.
    Loop,
    /// `loop-joined`: the same; what has come at once leaves in one write.
    LoopJoined,
    /// A server that is not ours, by the name that `tests/bench/peers` has for it.
    Peer(Peer),
}

/// A server that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Bun's own WebSocket server.
    Bun,
    /// The package `ws` on Node.js.
    Ws,
    /// Socket.IO on Node.js.
    SocketIo,
    /// The module Nchan of nginx.
    Nchan,
    /// NATS with its WebSocket listener.
    Nats,
    /// The library Centrifuge, in Go.
    Centrifuge,
}

impl Contender {
    /// Every one, with its name.
    const NAMES: [(Self, &str); 15] = [
        (Self::Gateway, "gateway"),
        (Self::GatewayAgain, "gateway-again"),
        (Self::GatewayZlib, "gateway-zlib"),
        (Self::Discord, "discord"),
        (Self::DiscordZlib, "discord-zlib"),
        (Self::GatewayTwo, "gateway-two"),
        (Self::Other, "other"),
        (Self::Loop, "loop"),
        (Self::LoopJoined, "loop-joined"),
        (Self::BUN, "bun"),
        (Self::Peer(Peer::Ws), "ws"),
        (Self::Peer(Peer::SocketIo), "socketio"),
        (Self::Peer(Peer::Nchan), "nchan"),
        (Self::Peer(Peer::Nats), "nats"),
        (Self::CENTRIFUGE, "centrifuge"),
    ];

    pub(in super::super) const BUN: Self = Self::Peer(Peer::Bun);
    pub(in super::super) const CENTRIFUGE: Self = Self::Peer(Peer::Centrifuge);

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(contender, _)| *contender == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(contender, _)| *contender).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

impl Peer {
    fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::Bun | Self::Ws => Box::new(Broadcast),
            Self::SocketIo => Box::new(SocketIo),
            Self::Nchan => Box::new(Nchan),
            Self::Nats => Box::new(Nats),
            Self::Centrifuge => Box::new(Centrifuge),
        }
    }
}

/// What the receivers of a node speak.
#[derive(Debug, Clone, Copy)]
enum Spoken {
    V1,
    V1Zlib,
    Discord,
    DiscordZlib,
}

impl Spoken {
    fn dialect(self, key: &str) -> Box<dyn Dialect> {
        match self {
            Self::V1 => Box::new(Utilbot::new(key, false)),
            Self::V1Zlib => Box::new(Utilbot::new(key, true)),
            Self::Discord => Box::new(Discord::new(key, false)),
            Self::DiscordZlib => Box::new(Discord::new(key, true)),
        }
    }
}

/// A peer is not on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotInstalled(String);

/// What all contenders of a run have in common.
#[derive(Debug)]
pub(super) struct Setting {
    /// Where the contender and its clients run; anywhere without it.
    pub(super) cores: Option<Cores>,
    /// The node's binary.
    pub(super) gateway: PathBuf,
    /// The other one.
    pub(super) other: Option<PathBuf>,
    /// Clients that there will be at a time.
    pub(super) clients: u32,
}

impl Setting {
    /// Starts a contender.
    pub(super) fn start(&self, contender: Contender) -> Result<Server> {
        match contender {
            Contender::Gateway | Contender::GatewayAgain => self.node(&self.gateway, Spoken::V1, 1),
            Contender::GatewayZlib => self.node(&self.gateway, Spoken::V1Zlib, 1),
            Contender::Discord => self.node(&self.gateway, Spoken::Discord, 1),
            Contender::DiscordZlib => self.node(&self.gateway, Spoken::DiscordZlib, 1),
            Contender::GatewayTwo => self.node(&self.gateway, Spoken::V1, 2),
            Contender::Other => {
                let binary = self.other.as_deref().context("`other` needs --other PATH")?;
                self.node(binary, Spoken::V1, 1)
            }
            Contender::Loop => self.bare_loop("single"),
            Contender::LoopJoined => self.bare_loop("joined"),
            Contender::Peer(peer) => self.peer(peer, contender.name()),
        }
    }

    /// A node with everything switched on; only what would stop the clients is wider.
    fn node(&self, binary: &Path, spoken: Spoken, workers: u32) -> Result<Server> {
        let settings = [
            ("server.workers", workers.to_string()),
            ("limits.connections", (self.clients + 16).to_string()),
            ("limits.payloads_per_minute", 1_000_000_000.to_string()),
            // The clients do not beat by themselves.
            ("v1.heartbeat_interval_ms", 3_600_000.to_string()),
            ("discord.heartbeat_interval_ms", 3_600_000.to_string()),
            ("discord.payloads_per_minute", 1_000_000_000.to_string()),
            ("discord.hello_delay_ms", 0.to_string()),
        ];
        let node = Gateway::start(binary, &settings, Some(EVENTS), self.cores)?;
        Ok(Server {
            target: Target {
                address: node.address,
                dialect: spoken.dialect(&node.key),
            },
            process: Process::Node(node),
        })
    }

    fn bare_loop(&self, mode: &str) -> Result<Server> {
        let mut command = Command::new(gateway::beside("bare_loop")?);
        let mut child = self.spawn(command.arg(mode).stdout(Stdio::piped()))?;
        let stdout = child.0.stdout.take().context("a child has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Server {
            target: Target {
                address: line.trim().parse().map_err(|_| anyhow!("the loop printed {line:?}"))?,
                dialect: Box::new(Broadcast),
            },
            process: Process::Child(child),
        })
    }

    fn peer(&self, peer: Peer, name: &str) -> Result<Server> {
        // Free now, and nobody else looks for one.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/start.sh"));
        command.args([name, &address.port().to_string()]);
        let mut child = self.spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect(address) {
            if let Some(status) = child.0.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = child.0.stderr.take() {
                    stderr.read_to_string(&mut said)?;
                }
                if status.code() == Some(NOT_INSTALLED) {
                    return Err(NotInstalled(said.trim().to_owned()).into());
                }
                bail!("{name} ended: {status}\n{said}");
            }
            ensure!(Instant::now() < deadline, "{name} does not listen: {error}");
            std::thread::park_timeout(ASKING);
        }
        Ok(Server {
            target: Target {
                address,
                dialect: peer.dialect(),
            },
            process: Process::Child(child),
        })
    }

    /// Starts a program on its core.
    fn spawn(&self, command: &mut Command) -> Result<ChildGuard> {
        if let Some(cores) = self.cores {
            pin_thread(cores.node)?;
        }
        let child = command.stdin(Stdio::null()).spawn();
        if let Some(cores) = self.cores {
            pin_thread(cores.clients)?;
        }
        Ok(ChildGuard(child.with_context(|| format!("starting {command:?}"))?))
    }
}

/// Where a contender listens, and what it speaks.
pub(in super::super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) dialect: Box<dyn Dialect>,
}

impl Target {
    /// A node, for clients that show this key.
    pub(in super::super) fn node(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            dialect: Box::new(Utilbot::new(key, false)),
        }
    }
}

/// A contender that listens; it is killed when this is dropped.
pub(in super::super) struct Server {
    pub(in super::super) target: Target,
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

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
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
