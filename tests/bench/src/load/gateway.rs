//! A real node as a child process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

use super::{
    cores::{Cores, pin_thread},
    usage::Usage,
};

/// How long a node may take to start listening.
const START: Duration = Duration::from_secs(30);

/// The file that the node's stderr is written to.
const LOG: &str = "log";

/// The node's configuration file, if it has one.
const FILE: &str = "gateway.toml";

/// A running node. It is killed on drop.
pub(super) struct Gateway {
    child: Child,
    /// The address it listens on.
    pub(super) address: SocketAddr,
    /// The key it generated at startup, in development mode.
    pub(super) key: String,
    /// Its working directory, which also holds its log.
    directory: tempfile::TempDir,
}

#[derive(Deserialize)]
struct Listening {
    address: SocketAddr,
    #[serde(default)]
    development_key: String,
}

impl Gateway {
    /// Starts `binary` on a free port with one worker, in development mode. `settings` are pairs of `section.key` and
    /// value; `file` is a configuration file for what these cannot express. With `cores`, the node and the calling
    /// thread are pinned to their cores.
    pub(super) fn start(
        binary: &Path,
        settings: &[(&str, String)],
        file: Option<&str>,
        cores: Option<Cores>,
    ) -> Result<Self> {
        if let Some(cores) = cores {
            // The child and all its threads inherit the affinity, so the node never runs on another core.
            pin_thread(cores.node)?;
        }
        let started = Self::spawn(binary, settings, file);
        if let Some(cores) = cores {
            pin_thread(cores.clients)?;
        }
        started
    }

    /// Like [`start`](Self::start), with a configuration file that has the keys and events, and without pinning.
    pub(super) fn start_with(binary: &Path, settings: &[(&str, String)], file: &str) -> Result<Self> {
        Self::spawn(binary, settings, Some(file))
    }

    fn spawn(binary: &Path, settings: &[(&str, String)], file: Option<&str>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(binary);
        if let Some(text) = file {
            fs::write(directory.path().join(FILE), text)?;
            command.args(["--config", FILE]);
        }
        let fixed = [
            ("server.bind", "127.0.0.1:0".to_owned()),
            ("server.workers", "1".to_owned()),
            ("log.level", "warn".to_owned()),
            // One key publishes all events of a run.
            ("limits.publish_events_per_minute", u32::MAX.to_string()),
            ("limits.publish_bytes_per_minute", (1_u64 << 40).to_string()),
            ("limits.idempotency_keys", 10_000_000.to_string()),
        ];
        let environment = fixed.iter().chain(settings).map(|(name, value)| {
            let name = name.to_ascii_uppercase().replace('.', "__");
            (format!("UTILBOT__{name}"), value)
        });
        let mut child = command
            .current_dir(directory.path())
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join(LOG))?)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdout = child.stdout.take().context("the node has no stdout")?;
        let mut gateway = Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            key: String::new(),
            directory,
        };
        let line = first_line(stdout).map_err(|error| gateway.startup_error(&error))?;
        let listening: Listening =
            serde_json::from_str(&line).map_err(|error| gateway.startup_error(&anyhow!("{line:?}: {error}")))?;
        gateway.address = listening.address;
        gateway.key = listening.development_key;
        Ok(gateway)
    }

    /// Returns the CPU time and memory that the node has used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    /// Sends SIGTERM.
    pub(super) fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).context("sending SIGTERM")
    }

    /// Returns the node's exit status if it has ended.
    pub(super) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Returns what the node has logged, at level `warn` and above.
    pub(super) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join(LOG))?)
    }

    /// Appends the node's log to `error`.
    fn startup_error(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("the node did not start: {error:#}\n{}", self.log().unwrap_or_default())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only if the process has ended and has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the first line of `stdout`. The thread that reads it continues to the end of the output, so that the node
/// never blocks on a full pipe.
fn first_line(stdout: ChildStdout) -> Result<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Fails after the first line, when the receiver is gone.
            let _ = sender.send(line);
        }
    });
    receiver
        .recv_timeout(START)
        .map_err(|_| anyhow!("no line on stdout within {START:?}"))
}

/// Returns `named` if given, else the node's binary that was built into this executable's directory.
pub(super) fn binary(named: Option<&Path>) -> Result<PathBuf> {
    named.map_or_else(|| beside("gateway-node"), |path| Ok(path.to_owned()))
}

/// Returns the program `name` from the directory that this executable was built into.
pub(super) fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test's executable is one directory deeper.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "there is no {name} next to {}; build it with `cargo build --release --workspace`",
            own.display()
        ),
    }
}
