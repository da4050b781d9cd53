//! The servers under comparison, and how each is started.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{
    super::{
        cores::Cores,
        gateway::{self, Gateway},
        node_counters::NodeCounters,
        usage::Usage,
    },
    dialect::{ClientRole, Dialect, UtilbotDialect},
    discord::DiscordDialect,
    peer_server::{PeerServer, ServerProcess},
    peers::BroadcastDialect,
};

/// How long a contestant may take for any step before the run fails.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// The end of each upgrade request, and the `Sec-WebSocket-Accept` that answers its key.
const UPGRADE_HEADERS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub(super) const UPGRADE_ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Routes the measured event to receivers of both protocols, all of which may identify at once.
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
/// A server under comparison. The name in backquotes is the one used on the command line and in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    /// `gateway`: the node of this repository.
    Gateway,
    /// `gateway-again`: the same node a second time, to show the noise between identical servers.
    GatewayAgain,
    /// `gateway-zlib`: the node, with receivers that ask for `compression=zlib`.
    GatewayZlib,
    /// `positions`: the node, with receivers that are told the positions of events.
    Positions,
    /// `watching`: the node, with websites that watch five guilds and are told positions and counts.
    Watching,
    /// `discord`: the node, with receivers that speak version 10 of Discord's protocol.
    Discord,
    /// `discord-zlib`: like `discord`, with `compress=zlib-stream`.
    DiscordZlib,
    /// `gateway-two`: the node with two workers.
    GatewayTwo,
    /// `other`: another binary of the node, to compare two builds.
    Other,
    /// `loop`: a bare `epoll` loop on one thread, one write per event and socket.
    Loop,
    /// `loop-joined`: like `loop`, with one write per socket for all events that arrived together.
    LoopJoined,
    /// A third-party server, under its name in `tests/bench/peers`.
    Peer(PeerServer),
}

impl Contestant {
    /// All contestants with their names.
    const NAMES: [(Self, &str); 17] = [
        (Self::Gateway, "gateway"),
        (Self::GatewayAgain, "gateway-again"),
        (Self::GatewayZlib, "gateway-zlib"),
        (Self::Positions, "positions"),
        (Self::Watching, "watching"),
        (Self::Discord, "discord"),
        (Self::DiscordZlib, "discord-zlib"),
        (Self::GatewayTwo, "gateway-two"),
        (Self::Other, "other"),
        (Self::Loop, "loop"),
        (Self::LoopJoined, "loop-joined"),
        (Self::BUN, "bun"),
        (Self::Peer(PeerServer::Ws), "ws"),
        (Self::Peer(PeerServer::SocketIo), "socketio"),
        (Self::Peer(PeerServer::Nchan), "nchan"),
        (Self::Peer(PeerServer::Nats), "nats"),
        (Self::CENTRIFUGE, "centrifuge"),
    ];

    pub(in super::super) const BUN: Self = Self::Peer(PeerServer::Bun);
    pub(in super::super) const CENTRIFUGE: Self = Self::Peer(PeerServer::Centrifuge);

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(contestant, _)| *contestant == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(contestant, _)| *contestant).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// The protocol that the receivers of a node speak.
#[derive(Debug, Clone, Copy)]
enum NodeProtocol {
    V1,
    V1Zlib,
    V1Positions,
    V1Watching,
    Discord,
    DiscordZlib,
}

impl NodeProtocol {
    fn dialect(self, key: &str) -> Box<dyn Dialect> {
        match self {
            Self::V1 => Box::new(UtilbotDialect::new(key, false)),
            Self::V1Zlib => Box::new(UtilbotDialect::new(key, true)),
            Self::V1Positions => Box::new(UtilbotDialect::with_positions(key)),
            Self::V1Watching => Box::new(UtilbotDialect::watching(key)),
            Self::Discord => Box::new(DiscordDialect::new(key, false)),
            Self::DiscordZlib => Box::new(DiscordDialect::new(key, true)),
        }
    }
}

/// Settings shared by all contestants of a run.
#[derive(Debug)]
pub(super) struct ContestSetup {
    /// The cores of the contestant and its clients; `None` to run without pinning.
    pub(super) cores: Option<Cores>,
    /// The node's binary.
    pub(super) gateway: PathBuf,
    /// The binary of the contestant `other`.
    pub(super) other: Option<PathBuf>,
    /// Maximum number of simultaneous clients.
    pub(super) clients: u32,
}

impl ContestSetup {
    /// Starts a contestant.
    pub(super) fn start(&self, contestant: Contestant) -> Result<ContestServer> {
        match contestant {
            Contestant::Gateway | Contestant::GatewayAgain => self.node(&self.gateway, NodeProtocol::V1, 1),
            Contestant::GatewayZlib => self.node(&self.gateway, NodeProtocol::V1Zlib, 1),
            Contestant::Positions => self.node(&self.gateway, NodeProtocol::V1Positions, 1),
            Contestant::Watching => self.node(&self.gateway, NodeProtocol::V1Watching, 1),
            Contestant::Discord => self.node(&self.gateway, NodeProtocol::Discord, 1),
            Contestant::DiscordZlib => self.node(&self.gateway, NodeProtocol::DiscordZlib, 1),
            Contestant::GatewayTwo => self.node(&self.gateway, NodeProtocol::V1, 2),
            Contestant::Other => {
                let binary = self.other.as_deref().context("`other` needs --other PATH")?;
                self.node(binary, NodeProtocol::V1, 1)
            }
            Contestant::Loop => self.bare_loop("single"),
            Contestant::LoopJoined => self.bare_loop("joined"),
            Contestant::Peer(peer) => peer.start(contestant.name(), None, self.cores),
        }
    }

    /// Starts a node with every feature on. Only the limits that would stop the clients are raised.
    fn node(&self, binary: &Path, protocol: NodeProtocol, workers: u32) -> Result<ContestServer> {
        let settings = [
            ("server.workers", workers.to_string()),
            ("limits.connections", (self.clients + 16).to_string()),
            ("limits.payloads_per_minute", 1_000_000_000.to_string()),
            // The clients send heartbeats only when a benchmark tells them to.
            ("v1.heartbeat_interval_ms", 3_600_000.to_string()),
            ("discord.heartbeat_interval_ms", 3_600_000.to_string()),
            ("discord.payloads_per_minute", 1_000_000_000.to_string()),
            ("discord.hello_delay_ms", 0.to_string()),
        ];
        let node = Gateway::start(binary, &settings, Some(EVENTS), self.cores)?;
        Ok(ContestServer {
            target: ContestTarget {
                address: node.address,
                dialect: protocol.dialect(&node.key),
            },
            process: Process::Node(node),
        })
    }

    fn bare_loop(&self, mode: &str) -> Result<ContestServer> {
        let mut command = Command::new(gateway::beside("bare_loop")?);
        let mut child = ServerProcess::spawn(command.arg(mode).stdout(Stdio::piped()), self.cores)?;
        let stdout = child.0.stdout.take().context("the child has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let target = ContestTarget {
            address: line
                .trim()
                .parse()
                .map_err(|_| anyhow!("the bare loop printed {line:?} instead of an address"))?,
            dialect: Box::new(BroadcastDialect),
        };
        Ok(ContestServer::new(child, target))
    }
}

/// The address of a contestant and the protocol it speaks.
pub(in super::super) struct ContestTarget {
    pub(in super::super) address: SocketAddr,
    pub(in super::super) dialect: Box<dyn Dialect>,
}

impl ContestTarget {
    /// Returns the upgrade request of a client.
    pub(in super::super) fn upgrade(&self, role: ClientRole) -> Vec<u8> {
        let path = self.dialect.target(role);
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{UPGRADE_HEADERS}", self.address).into_bytes()
    }

    /// Targets a node, for clients that identify with `key`.
    pub(in super::super) fn node(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            dialect: Box::new(UtilbotDialect::new(key, false)),
        }
    }
}

/// A running contestant. It is killed on drop.
pub(in super::super) struct ContestServer {
    pub(in super::super) target: ContestTarget,
    process: Process,
}

enum Process {
    Node(Gateway),
    Child(ServerProcess),
}

impl ContestServer {
    /// Wraps a running process that is not a node.
    pub(super) fn new(child: ServerProcess, target: ContestTarget) -> Self {
        let process = Process::Child(child);
        Self { target, process }
    }

    /// Returns the CPU time and memory used so far.
    pub(in super::super) fn usage(&self) -> Result<Usage> {
        match &self.process {
            Process::Node(node) => node.usage(),
            Process::Child(child) => Usage::of(child.0.id()),
        }
    }

    /// Returns what a node has counted, or `None` if this is not a node.
    pub(in super::super) fn counters(&self) -> Result<Option<NodeCounters>> {
        match &self.process {
            Process::Node(node) => NodeCounters::read(node).map(Some),
            Process::Child(_) => Ok(None),
        }
    }

    /// Returns an error if the process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Node(node) => {
                if let Some(status) = node.exited()? {
                    bail!("the node ended: {status}\n{}", node.log()?);
                }
            }
            Process::Child(child) => {
                let ended = child.0.try_wait()?;
                ensure!(ended.is_none(), "the server ended: {ended:?}");
            }
        }
        Ok(())
    }
}
