//! nginx in front of the nodes of a test: a real `nginx` with `deploy/nginx.conf`, in which only the addresses are
//! changed.

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

/// The folders that nginx writes to, which belong to the system's nginx otherwise.
const FOLDERS: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// A running nginx. It is killed on drop.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx for three nodes, each an address or `unix:` and a path, and waits until it accepts connections.
    pub async fn start(nodes: [impl Display; 3]) -> Self {
        let nodes = nodes.map(|node| node.to_string());
        loop {
            let folder = tempfile::tempdir().expect("a folder for the configuration");
            let port = free_port().await;
            fs::write(folder.path().join("nginx.conf"), configuration(port, &nodes)).expect("a file can be written");
            let log = File::create(folder.path().join("log")).expect("a file can be made");
            let child = Command::new(tool_on_path("UTILBOT_TEST_NGINX", "nginx"))
                .arg("-p")
                .arg(folder.path())
                .args(["-c", "nginx.conf"])
                .args(["-g", "daemon off; master_process off; pid nginx.pid; error_log stderr;"])
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file can be opened twice"))
                .stderr(log)
                .kill_on_drop(true)
                .spawn();
            let mut nginx = Self {
                child: child.expect("nginx starts; `tests/run.sh` installs it"),
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                folder,
            };
            if nginx.accepts().await {
                return nginx;
            }
            // Another test took the port after it was found free; try again.
        }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it accepts connections. Returns `false` if it exited because its port was taken.
    async fn accepts(&mut self) -> bool {
        eventually("nginx that accepts", async || {
            if self.child.try_wait().expect("a child can be asked").is_some() {
                let log = fs::read_to_string(self.folder.path().join("log")).expect("the log is text");
                assert!(log.contains("Address already in use"), "nginx did not start: {log}");
                return Some(false);
            }
            TcpStream::connect(self.address).await.ok().map(|_| true)
        })
        .await
    }
}

/// Returns the committed configuration with these addresses in place of its own, and with folders of its own.
fn configuration(port: u16, nodes: &[String; 3]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx.conf");
    let mut text = fs::read_to_string(path).expect("the file of the deployment is there");
    let nodes = (1..).zip(nodes);
    let nodes = nodes.map(|(number, node)| (format!("server node-{number}:8080;"), format!("server {node};")));
    let own = ("listen 8080;".to_owned(), format!("listen 127.0.0.1:{port};"));
    for (theirs, ours) in nodes.chain([own]) {
        assert_eq!(text.matches(&theirs).count(), 1, "{theirs} in deploy/nginx.conf");
        text = text.replace(&theirs, &ours);
    }
    let folders = FOLDERS.map(|name| format!("{name}_temp_path {name};")).join("\n    ");
    text.replacen("http {\n", &format!("http {{\n    access_log off;\n    {folders}\n"), 1)
}
