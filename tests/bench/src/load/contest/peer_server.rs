//! Third-party servers, which `tests/bench/peers` installs and starts.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    super::cores::{Cores, pin_thread},
    contestant::{ContestServer, ContestTarget, STEP_TIMEOUT},
    dialect::Dialect,
    peers::{BroadcastDialect, CentrifugeDialect, NatsDialect, NchanDialect, SocketIoDialect},
};

/// Exit code of `start.sh` for a peer that is not installed.
const NOT_INSTALLED: i32 = 69;

/// How often to check whether a peer is listening yet.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A third-party server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerServer {
    /// Bun's built-in WebSocket server.
    Bun,
    /// The `ws` package on Node.js.
    Ws,
    /// Socket.IO on Node.js.
    SocketIo,
    /// Nchan, a module of nginx.
    Nchan,
    /// NATS with its WebSocket listener.
    Nats,
    /// A Go server on the Centrifuge library.
    Centrifuge,
}

impl PeerServer {
    /// Returns its protocol.
    pub(in super::super) fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::Bun | Self::Ws => Box::new(BroadcastDialect),
            Self::SocketIo => Box::new(SocketIoDialect),
            Self::Nchan => Box::new(NchanDialect),
            Self::Nats => Box::new(NatsDialect),
            Self::Centrifuge => Box::new(CentrifugeDialect),
        }
    }

    /// Starts the server under its name in `tests/bench/peers`. With the port of a Redis, it is one of several servers
    /// that share it.
    pub(in super::super) fn start(
        self,
        name: &str,
        redis_port: Option<u16>,
        cores: Option<Cores>,
    ) -> Result<ContestServer> {
        // The port is free now, and nothing else on this machine is expected to take it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/start.sh"));
        let ports = [Some(address.port()), redis_port];
        command.arg(name).args(ports.iter().flatten().map(u16::to_string));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = ServerProcess::spawn(&mut command, cores)?;
        let deadline = Instant::now() + STEP_TIMEOUT;
        while let Err(error) = TcpStream::connect(address) {
            if let Some(status) = process.0.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = process.0.stderr.take() {
                    stderr.read_to_string(&mut said)?;
                }
                if status.code() == Some(NOT_INSTALLED) {
                    return Err(NotInstalled(said.trim().to_owned()).into());
                }
                bail!("{name} ended: {status}\n{said}");
            }
            ensure!(Instant::now() < deadline, "{name} is not listening: {error}");
            std::thread::park_timeout(POLL_INTERVAL);
        }
        let dialect = self.dialect();
        Ok(ContestServer::new(process, ContestTarget { address, dialect }))
    }
}

/// A peer is not installed on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotInstalled(String);

/// A child process that is killed on drop.
pub(super) struct ServerProcess(pub(super) Child);

impl ServerProcess {
    /// Starts a program, on the server core if there is one.
    pub(super) fn spawn(command: &mut Command, cores: Option<Cores>) -> Result<Self> {
        if let Some(cores) = cores {
            pin_thread(cores.node)?;
        }
        let child = command.stdin(Stdio::null()).spawn();
        if let Some(cores) = cores {
            pin_thread(cores.clients)?;
        }
        Ok(Self(child.with_context(|| format!("starting {command:?}"))?))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if the process has ended and has been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
