//! A Redis of its own for each test.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A server that ends with the test.
pub(in crate::cluster) struct TestServer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl TestServer {
    /// Starts a server; it may take a moment until it answers.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is told by its environment where the server's program is"
    )]
    pub(in crate::cluster) fn start() -> Self {
        let program = std::env::var("UTILBOT_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(&program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--maxmemory-policy", "noeviction"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; install it with: sudo apt-get install redis-server"));
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    pub(in crate::cluster) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
