//! A load balancer in front of the nodes of a test: a real `haproxy` with `deploy/haproxy.cfg`, in which only the
//! addresses are changed.

use std::{
    fmt::Display,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{command::tool_on_path, deadline::eventually, port::free_port};

/// The lines with the balancer's own listeners in the file: for clients, and for its metrics.
const OWN: [&str; 2] = ["bind :8080", "bind :8405"];

/// How many lines of its log a failure shows.
const SHOWN_LINES: usize = 40;

/// A running load balancer. It is killed on drop.
#[derive(Debug)]
pub struct Balancer {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    /// Starts a balancer for three nodes, each an address or `unix@` and a path. It considers them healthy until its
    /// first check. Waits until it accepts connections.
    pub async fn start(nodes: [impl Display; 3]) -> Self {
        Self::start_with(nodes, None).await
    }

    /// Like [`Self::start`], with the network whose proxies are trusted.
    pub async fn start_with(nodes: [impl Display; 3], proxies: Option<&str>) -> Self {
        let nodes = nodes.map(|node| node.to_string());
        loop {
            let folder = tempfile::tempdir().expect("a folder for the configuration");
            let ports = [free_port().await, free_port().await];
            fs::write(folder.path().join("haproxy.cfg"), configuration(ports, &nodes)).expect("a file can be written");
            let log = File::create(folder.path().join("log")).expect("a file can be made");
            let child = Command::new(tool_on_path("UTILBOT_TEST_HAPROXY", "haproxy"))
                .args(["-db", "-f", "haproxy.cfg"])
                .envs(proxies.map(|network| ("UTILBOT_NETWORK", network)))
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file can be opened twice"))
                .stderr(log)
                .kill_on_drop(true)
                .spawn();
            let mut balancer = Self {
                child: child.expect("haproxy starts; `tests/run.sh` installs it"),
                address: SocketAddr::from(([127, 0, 0, 1], ports[0])),
                folder,
            };
            if balancer.accepts().await {
                return balancer;
            }
            // Another test took a port after it was found free; try again.
        }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its log: a line for every request, and for every server that it takes out.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log is text")
    }

    /// Waits until it accepts connections. Returns `false` if it exited because a port was taken.
    async fn accepts(&mut self) -> bool {
        eventually("a balancer that accepts", async || {
            if self.child.try_wait().expect("a child can be asked").is_some() {
                let log = self.log();
                assert!(log.contains("Address already in use"), "HAProxy did not start: {log}");
                return Some(false);
            }
            TcpStream::connect(self.address).await.ok().map(|_| true)
        })
        .await
    }
}

impl Drop for Balancer {
    /// Prints the end of the log if the test fails.
    #[allow(clippy::print_stderr, reason = "it belongs to the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
        }
    }
}

/// Returns the committed configuration with these addresses in place of its own.
fn configuration(ports: [u16; 2], nodes: &[String; 3]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/haproxy.cfg");
    let mut text = fs::read_to_string(path).expect("the file of the deployment is there");
    let own = OWN.iter().zip(ports);
    let own = own.map(|(theirs, port)| ((*theirs).to_owned(), format!("bind 127.0.0.1:{port}")));
    let nodes = (1..).zip(nodes);
    let nodes = nodes.map(|(number, node)| (format!(" node-{number}:8080"), format!(" {node}")));
    for (theirs, ours) in own.chain(nodes) {
        assert_eq!(text.matches(&theirs).count(), 1, "{theirs} in deploy/haproxy.cfg");
        text = text.replace(&theirs, &ours);
    }
    text
}
