//! A real node in a process of its own.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr},
    sync::watch,
};

use super::{
    deadline::{WAIT, within, within_time},
    setup::{Setup, WrittenConfig},
    unix_bridge::UnixBridge,
};

/// The length of a clock tick in /proc, in ms: Linux has reported 100 ticks a second on every architecture since 2.6.
const TICK_MS: u64 = 10;

/// A running node. It is killed on drop.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    banner: Value,
    log: watch::Receiver<String>,
    _bridge: Option<UnixBridge>,
    _unread_log: Option<ChildStderr>,
    file: Option<WrittenConfig>,
}

impl NodeProcess {
    /// Starts a node and waits until it listens.
    pub(crate) async fn start(setup: Setup) -> Self {
        let file = setup.write();
        let mut command = setup.command();
        command
            .env_clear()
            // Only the wall clock can be set; the monotonic clock stays real.
            .envs([("TZ", "UTC"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")])
            .envs(setup.environment().iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(file) = &file {
            command.arg("--config").arg(&file.path);
        }
        let mut child = command.spawn().expect("the gateway's binary starts");
        let pid = child.id().expect("a child that has not been waited for has an id");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (mut log, unread_log) = if setup.is_log_unread() {
            (watch::channel(String::new()).1, Some(stderr))
        } else {
            (follow(stderr), None)
        };
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        within("the listening line", stdout.read_line(&mut line))
            .await
            .expect("stdout is text");
        if line.is_empty() {
            within("the last log lines", log.wait_for(|_| false)).await.err();
            panic!("the node did not start: {}", *log.borrow());
        }
        let banner: Value = serde_json::from_str(&line).expect("the first line is JSON");
        assert_eq!(banner["event"], "listening");
        let address = banner["address"].as_str().expect("an address");
        let bridge = match address.strip_prefix("unix:") {
            Some(path) => Some(UnixBridge::start(path.into()).await),
            None => None,
        };
        let address = match &bridge {
            Some(bridge) => bridge.address(),
            None => address.parse().expect("an address"),
        };
        Self {
            child,
            pid: Pid::from_raw(pid.cast_signed()),
            address,
            banner,
            log,
            _bridge: bridge,
            _unread_log: unread_log,
            file,
        }
    }

    /// The address of the public listener, or of a port in front of its Unix socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first line that the node printed, as JSON.
    pub fn banner(&self) -> &Value {
        &self.banner
    }

    /// Returns the key of development mode.
    pub fn development_key(&self) -> String {
        self.banner["development_key"]
            .as_str()
            .expect("the node is in development mode")
            .to_owned()
    }

    /// Returns what the node has logged so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until the log contains `text`.
    pub async fn logged(&self, text: &str) {
        let mut log = self.log.clone();
        within(&format!("`{text}` in the log"), log.wait_for(|log| log.contains(text)))
            .await
            .expect("the node is running");
    }

    /// The path of the configuration file.
    pub fn file(&self) -> &Path {
        &self.file.as_ref().expect("the node has a file").path
    }

    /// The id of the process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("the node is running");
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        within_time("the node's end", deadline, self.child.wait())
            .await
            .expect("a child can be waited for")
    }

    /// Stops the node with SIGTERM and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended(WAIT).await
    }

    /// Whether the process is still running.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Returns the resident memory of the process, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("VmRSS in KiB")
    }

    /// Returns the CPU time that the process has used, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        let stat = self.proc("stat");
        // The name in parentheses may contain spaces. User and system time are fields 14 and 15 of the whole line.
        let (_, fields) = stat.rsplit_once(')').expect("stat names the process");
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || ticks.next().expect("a field").expect("a number");
        (next() + next()) * TICK_MS
    }

    /// Returns the number of open file descriptors of the process.
    pub fn descriptors(&self) -> usize {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("the node is running");
        folder.count()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the node is running")
    }
}

/// Reads the log for as long as the test runs, so that the node's pipe never fills up.
fn follow(mut stderr: ChildStderr) -> watch::Receiver<String> {
    let (log, follower) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            log.send_modify(|log| log.push_str(&String::from_utf8_lossy(&buffer[..count])));
        }
    });
    follower
}
