//! A Redis of a test's own: a real server process on a port that is not shared, whose data outlives the process.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    clock::Clock,
    command::{run, tool_on_path},
    deadline::{WAIT, eventually, within},
    port::free_port,
    redis_user::{NAME, PASSWORD, documented_redis_rights},
};

/// The user of [`RedisProcess::cli`] on a server whose default user is off, and its password.
const TESTER: [&str; 2] = ["tester", "tester-password"];
/// The database of the nodes on such a server.
const DATABASE: &str = "1";
/// How long the server may take to say which commands it has denied.
const ASKING: Duration = Duration::from_secs(1);

/// The name of its Unix socket in its folder.
const SOCKET: &str = "redis.sock";

/// The directives of every server. A test's own directives follow these and override them.
const DIRECTIVES: [(&str, &str); 8] = [
    ("bind", "127.0.0.1"),
    ("daemonize", "no"),
    ("logfile", "\"\""),
    ("save", "\"\""),
    ("appendonly", "yes"),
    // Every acknowledged write has been written to the file, however slow the disk is. With `everysec`, a write waits
    // up to two seconds for a slow fsync, and a server that is killed meanwhile loses it.
    ("appendfsync", "no"),
    ("maxmemory-policy", "noeviction"),
    ("databases", "2"),
];

/// A running server. On drop it is killed and its data is deleted.
#[derive(Debug)]
pub struct RedisProcess {
    /// `None` between [`Self::kill`] or [`Self::stop`] and [`Self::restart`].
    child: Option<Child>,
    port: u16,
    directives: Vec<(String, String)>,
    /// Whether nodes are the user of the documentation, in a database other than 0. The default user is then off.
    has_users: bool,
    /// Its own wall clock, if it has one.
    clock: Option<Clock>,
    folder: TempDir,
    /// Whether its file was truncated while it was stopped.
    is_cut: bool,
}

impl RedisProcess {
    /// Starts a server with an append-only file, and waits until it answers. Nodes that use its URL have the rights that
    /// `docs/operations.md` gives them and no others, in a database other than 0. On drop, the test fails if the server
    /// has denied them anything.
    pub async fn start() -> Self {
        Self::start_by(&[], true, None).await
    }

    /// Like [`Self::start`], without users and with database 0, and with additional directives for the configuration
    /// file, such as `requirepass`. With a `tls-cert-file` the server accepts only TLS.
    pub async fn start_with(directives: &[(&str, &str)]) -> Self {
        Self::start_by(directives, false, None).await
    }

    /// Like [`Self::start_with`], with a wall clock of its own, which shows the real time until [`Self::set_clock`].
    pub async fn start_with_clock(directives: &[(&str, &str)]) -> Self {
        Self::start_by(directives, false, Some(Clock::start().await)).await
    }

    async fn start_by(directives: &[(&str, &str)], has_users: bool, clock: Option<Clock>) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut server = Self {
            child: None,
            port: free_port().await,
            directives: directives.iter().map(owned).collect(),
            has_users,
            clock,
            folder: tempfile::tempdir().expect("a folder for the data"),
            is_cut: false,
        };
        server.spawn();
        // Another test may have taken the port after it was found free.
        while !server.answers().await {
            server.port = free_port().await;
            server.spawn();
        }
        server
    }

    /// The URL for nodes, without the password of `requirepass`.
    pub fn url(&self) -> String {
        if self.has_users {
            return format!("redis://{NAME}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", self.port);
        }
        let scheme = if self.has_tls() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// The path of its Unix socket, on which it listens too.
    pub fn unix_socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// The port, which stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the id of the process, which must be running.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("the server is running")
    }

    /// Kills it with SIGKILL. What it has written survives: the kernel has it, even if it is not on disk yet.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("the server is running");
        within("the end of a killed Redis", child.kill())
            .await
            .expect("a child can be killed");
    }

    /// Stops it with SIGTERM, which makes it write everything, and waits for its end.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().expect("the server is running");
        within("the end of Redis", child.wait())
            .await
            .expect("a child can be waited for");
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], with the same port and data, and waits until it answers.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "the server is running");
        self.spawn();
        assert!(self.answers().await, "Redis did not start again: {}", self.log());
        if std::mem::take(&mut self.is_cut) {
            // A file that ends in the middle of a transaction keeps that half. At the next start, Redis would take it
            // for a part of what was written after it.
            self.cli(&["BGREWRITEAOF"]).await;
            eventually("a rewritten append-only file", async || {
                let info = self.cli(&["INFO", "persistence"]).await;
                let is_over = info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
                is_over.then_some(())
            })
            .await;
        }
    }

    /// Suspends the process: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Continues the process after [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sets its wall clock this far ahead of the real time (behind if negative), running or not.
    pub fn set_clock(&self, ahead_ms: i64) {
        let clock = self.clock.as_ref().expect("the server has a clock of its own");
        clock.set(ahead_ms);
    }

    /// Returns the size of the newest append-only file, in bytes. It contains every acknowledged write, and it ends
    /// where a command or a script ends.
    pub fn log_bytes(&self) -> u64 {
        let metadata = fs::metadata(self.newest_log());
        metadata.expect("the manifest names a file").len()
    }

    /// Cuts bytes off the end of the append-only file, as a crash of the whole machine may. The server must not be
    /// running. Returns how many bytes were cut, which is less than `bytes` if the file is shorter.
    pub fn truncate_log(&mut self, bytes: u64) -> u64 {
        assert!(self.child.is_none(), "the server is running");
        let length = self.log_bytes();
        let cut = bytes.min(length);
        let file = File::options().write(true).open(self.newest_log());
        file.and_then(|file| file.set_len(length - cut))
            .expect("the file can be cut");
        self.is_cut = true;
        cut
    }

    /// Returns what `redis-cli` prints for this command, without the final line break. It authenticates if the server
    /// has `requirepass`.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(tool_on_path("UTILBOT_TEST_REDIS_CLI", "redis-cli"));
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .env_remove("REDISCLI_AUTH");
        if self.has_tls() {
            command.args(["--tls", "--insecure"]);
        }
        if let Some(password) = self.directive("requirepass") {
            command.env("REDISCLI_AUTH", password);
        }
        if self.has_users {
            command
                .env("REDISCLI_AUTH", TESTER[1])
                .args(["--user", TESTER[0], "-n", DATABASE]);
        }
        let ran = run(command.args(arguments), WAIT).await;
        ran.stdout.trim_end_matches('\n').to_owned()
    }

    /// Cuts the connections of all pub/sub subscribers, including those that use RESP3. Returns how many there were.
    pub async fn kill_pubsub_clients(&self) -> u64 {
        let answer = self.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        answer.parse().unwrap_or_else(|_| panic!("{answer}"))
    }

    /// Returns what all its processes have printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log is text")
    }

    fn spawn(&mut self) {
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join("log"));
        fs::write(folder.join("redis.conf"), self.configuration()).expect("the configuration can be written");
        let child = Command::new(tool_on_path("UTILBOT_TEST_REDIS", "redis-server"))
            .arg("redis.conf")
            .envs(self.clock.iter().flat_map(Clock::environment))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.expect("the log can be opened"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("redis-server starts; `tests/run.sh` installs it"));
    }

    fn configuration(&self) -> String {
        let mut text = if self.has_tls() {
            format!("port 0\ntls-port {}\n", self.port)
        } else {
            format!("port {}\n", self.port)
        };
        let own = self.directives.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in DIRECTIVES.into_iter().chain(own) {
            writeln!(text, "{name} {value}").expect("writing to memory cannot fail");
        }
        writeln!(text, "unixsocket {SOCKET}").expect("writing to memory cannot fail");
        if self.has_users {
            let [tester, password] = TESTER;
            let rights = documented_redis_rights().join(" ");
            write!(
                text,
                // Redis replays its append-only file with the rights of the default user.
                "user default off ~* &* +@all\nuser {tester} on >{password} ~* &* +@all\nuser {NAME} on >{PASSWORD} {rights}\n\
                 masteruser {tester}\nmasterauth {password}\n"
            )
            .expect("writing to memory cannot fail");
        }
        text
    }

    /// Returns the log of what the server has denied, as RESP. `None` if it does not answer.
    fn denied(&self) -> Option<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, ASKING).ok()?;
        stream.set_read_timeout(Some(ASKING)).ok()?;
        let [tester, password] = TESTER;
        let request = format!("AUTH {tester} {password}\r\nACL LOG\r\nQUIT\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Waits until it answers. Returns `false` if it exited because its port was taken.
    async fn answers(&mut self) -> bool {
        eventually("Redis answers", async || {
            let child = self.child.as_mut().expect("the server was started");
            if child.try_wait().expect("a child can be asked").is_some() {
                let log = self.log();
                assert!(log.contains("Address already in use"), "Redis did not start: {log}");
                return Some(false);
            }
            (self.cli(&["PING"]).await == "PONG").then_some(true)
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("the server is running");
    }

    fn directive(&self, name: &str) -> Option<&str> {
        let known = self.directives.iter().rev().find(|(known, _)| known == name);
        known.map(|(_, value)| &**value)
    }

    fn has_tls(&self) -> bool {
        self.directive("tls-cert-file").is_some()
    }

    /// Returns the file that the server appends to: the last one in the manifest.
    fn newest_log(&self) -> PathBuf {
        let folder = self.folder.path().join("appendonlydir");
        let manifest = fs::read_to_string(folder.join("appendonly.aof.manifest"));
        let manifest = manifest.expect("Redis 7 or later keeps a manifest of its append-only files");
        let line = manifest.lines().rfind(|line| line.ends_with("type i"));
        let name = line.and_then(|line| line.strip_prefix("file ")?.split(' ').next());
        folder.join(name.expect("the manifest names an incremental file"))
    }
}

impl Drop for RedisProcess {
    /// Fails the test if the server has denied the nodes a command, a key or a channel.
    fn drop(&mut self) {
        if !self.has_users || self.child.is_none() || std::thread::panicking() {
            return;
        }
        // A server that is suspended does not answer.
        if let Some(denied) = self.denied() {
            assert_eq!(denied, "+OK\r\n*0\r\n+OK\r\n", "Redis has denied the nodes something");
        }
    }
}
