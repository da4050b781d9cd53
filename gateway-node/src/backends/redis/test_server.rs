//! A separate Redis server for each test.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::RedisOptions;
use crate::backplane::{ReportLimits, TicketLimits};

/// A server that is stopped at the end of the test. It writes an append-only file, so that it can be restarted with its
/// data.
pub(crate) struct TestServer {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl TestServer {
    /// Starts a server. It may take a moment to answer.
    pub(crate) fn start() -> Self {
        let mut server = Self {
            child: None,
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            folder: tempfile::tempdir().unwrap(),
        };
        server.start_again();
        server
    }

    /// The options of a node with this incarnation on the server.
    pub(crate) fn options(&self, incarnation: u64) -> RedisOptions {
        RedisOptions {
            url: self.url().into(),
            tls: super::RedisTls::default(),
            prefix: "test".to_owned(),
            node: format!("node-{incarnation}").into(),
            incarnation,
            applications: vec!["utilbot".into()],
            lease: Duration::from_secs(1),
            log_entries: 10_000,
            log_age: Duration::from_secs(600),
            log_bytes: 1 << 26,
            idempotency_keys: 1000,
            jobs: crate::backplane::JobLimits::for_tests(),
            hold_bytes: 1 << 24,
            hold: Duration::from_secs(30),
            count_interval: Duration::from_secs(1),
            reports: ReportLimits::default(),
            resume_window: Duration::from_secs(60),
            heartbeat: Duration::from_secs(40),
            fixed_id: None,
            metrics: std::sync::Arc::default(),
            tickets: TicketLimits {
                unused: 100,
                revocations_kept: Duration::from_secs(3600),
            },
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Restarts a killed server with its data.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment of a test names the server's program"
    )]
    pub(crate) fn start_again(&mut self) {
        let program = std::env::var("UTILBOT_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(&program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--maxmemory-policy", "noeviction"])
            // Without fsync: behind a slow one, a write waits for up to two seconds. A confirmed write still survives a
            // kill.
            .args(["--appendfsync", "no"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; install it with: sudo apt-get install redis-server"));
        self.child = Some(child);
    }

    /// Runs a command and returns its output.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment of a test names the server's client"
    )]
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let program = std::env::var("UTILBOT_TEST_REDIS_CLI").unwrap_or_else(|_| "redis-cli".to_owned());
        let output = Command::new(program)
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The length of the file that a killed server will load.
    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).unwrap().len()
    }

    /// Truncates the file that a killed server will load to this length.
    pub(crate) fn cut_log(&self, length: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.log()).unwrap();
        file.set_len(length).unwrap();
    }

    fn log(&self) -> PathBuf {
        let files = fs::read_dir(self.folder.path().join("appendonlydir")).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        let is_increment = |path: &PathBuf| path.to_string_lossy().ends_with(".incr.aof");
        paths
            .find(is_increment)
            .expect("a server with appendonly writes an increment")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}
