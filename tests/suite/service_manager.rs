//! What a node tells the service manager that started it, over a real datagram socket.

use std::{fs, os::linux::net::SocketAddrExt as _, os::unix::net::SocketAddr, path::PathBuf, time::Duration};

use gateway_harness::{KEYS, NodeProcess, RedisProcess, Setup, WAIT, eventually, full_setup, get, within};
use nix::{
    sys::{ptrace, signal::Signal},
    time::ClockId,
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

/// The watchdog of a test. A worker that is busy for longer is not what is tested.
const WATCHDOG: Duration = Duration::from_secs(4);

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path,
            _folder: folder,
        }
    }

    fn setup(&self) -> Setup {
        Setup::new()
            .file(KEYS)
            .variable("NOTIFY_SOCKET", self.path.to_str().unwrap())
    }

    /// A setup with [`WATCHDOG`].
    fn watching(&self) -> Setup {
        self.setup()
            .set("server.workers", 2)
            .variable("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
    }

    /// Returns the next message.
    async fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let received = within("a message to the service manager", self.socket.recv(&mut buffer)).await;
        String::from_utf8(buffer[..received.unwrap()].to_vec()).unwrap()
    }

    /// Returns the next message that contains `assignment`, and what came before.
    async fn until(&self, assignment: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let message = self.next().await;
            if message.lines().any(|line| line.starts_with(assignment)) {
                return (message, before);
            }
            before.push(message);
        }
    }

    /// Takes what has arrived.
    fn drain(&self) {
        while self.socket.try_recv(&mut [0; 4096]).is_ok() {}
    }
}

fn monotonic_us() -> i64 {
    let now = ClockId::CLOCK_MONOTONIC.now().unwrap();
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000
}

#[tokio::test]
async fn a_node_tells_when_it_is_ready_reloads_and_stops() {
    let manager = Manager::start();
    let mut node = manager.setup().start().await;
    assert_eq!(manager.next().await, "READY=1\nSTATUS=ready for clients");

    let asked = monotonic_us();
    node.signal(Signal::SIGHUP);
    let reloading = manager.next().await;
    let lines: Vec<_> = reloading.lines().collect();
    assert_eq!((lines[0], lines[2]), ("RELOADING=1", "STATUS=reloading"), "{reloading}");
    let said: i64 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((asked..=monotonic_us()).contains(&said), "{asked} {said}");
    assert_eq!(manager.next().await, "READY=1\nSTATUS=ready for clients");

    fs::write(node.file(), "keys = 5").unwrap();
    node.signal(Signal::SIGHUP);
    assert!(manager.next().await.starts_with("RELOADING=1\n"));
    let refused = manager.next().await;
    assert!(
        refused.starts_with("READY=1\nSTATUS=the configuration is invalid and was not applied"),
        "{refused}"
    );
    assert_eq!(manager.next().await, "STATUS=ready for clients");

    node.signal(Signal::SIGTERM);
    assert_eq!(manager.next().await, "STOPPING=1\nSTATUS=draining");
    assert!(node.ended(WAIT).await.success());
}

#[tokio::test]
async fn a_node_is_not_ready_before_redis_answers() {
    let manager = Manager::start();
    let mut redis = RedisProcess::start().await;
    redis.kill().await;
    let variable = manager.path.to_str().unwrap();
    let node = full_setup()
        .redis(&redis.url())
        .set("cluster.lease_ms", 500)
        .variable("NOTIFY_SOCKET", variable)
        .start()
        .await;
    let (status, _) = manager.until("STATUS=not ready: redis at ").await;
    assert!(!status.contains("READY"), "{status}");
    // The end of a reload would say that the node is ready.
    node.signal(Signal::SIGHUP);
    node.logged("configuration reloaded").await;
    redis.restart().await;
    let (ready, before) = manager.until("READY=1").await;
    assert_eq!(ready, "READY=1\nSTATUS=ready for clients");
    assert!(
        before.iter().all(|message| message.starts_with("STATUS=not ready: ")),
        "{before:?}"
    );
    redis.kill().await;
    let (status, _) = manager.until("STATUS=not ready: redis at ").await;
    assert_eq!(status.lines().count(), 1, "{status}");
}

#[tokio::test]
async fn an_abstract_socket_is_told_too() {
    let name = format!("utilbot-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UnixDatagram::from_std(socket).unwrap();
    let _node = Setup::new()
        .variable("NOTIFY_SOCKET", &format!("@{name}"))
        .start()
        .await;
    let mut buffer = [0; 100];
    let length = within("a message", socket.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"READY=1\nSTATUS=ready for clients");
}

#[tokio::test]
async fn a_service_manager_that_is_gone_is_logged_once_and_changes_nothing() {
    let node = Setup::new()
        .variable("NOTIFY_SOCKET", "/gone/notify")
        .variable("WATCHDOG_USEC", "20000")
        .start()
        .await;
    node.logged("the service manager cannot be told how this node is").await;
    node.logged("ready for clients").await;
    for _ in 0..3 {
        node.signal(Signal::SIGHUP);
    }
    node.logged("configuration reloaded").await;
    assert_eq!(get(&node, "/readyz").await.status, 200);
    assert_eq!(node.log().matches("cannot be told").count(), 1, "{}", node.log());
}

/// A thread of a node that is stopped as by a debugger, and goes on when dropped. Only this thread may end that.
struct StoppedThread(Pid);

impl StoppedThread {
    async fn new(thread: Pid) -> Self {
        ptrace::attach(thread).expect("the children of a test may be traced");
        eventually("a stopped thread", async || {
            let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
            status.contains("State:\tt").then_some(())
        })
        .await;
        Self(thread)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// Returns the threads of the node's workers: those that run an arbiter.
fn workers(node: &NodeProcess) -> Vec<Pid> {
    let pid = node.pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let mut threads: Vec<i32> = threads
        .filter(|thread| {
            let name = fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm")).unwrap();
            name.starts_with("actix-rt|system")
        })
        .collect();
    threads.sort_unstable();
    threads.into_iter().map(Pid::from_raw).collect()
}

#[tokio::test]
async fn the_watchdog_is_told_twice_in_its_time() {
    let manager = Manager::start();
    let _node = manager.watching().start().await;
    manager.until("READY=1").await;
    for _ in 0..3 {
        let message = tokio::time::timeout(WATCHDOG, manager.until("WATCHDOG=1"));
        assert_eq!(message.await.expect("a sign of life in time").0, "WATCHDOG=1");
    }
}

#[tokio::test]
async fn the_watchdog_is_not_told_while_a_worker_hangs() {
    let manager = Manager::start();
    let node = manager.watching().start().await;
    manager.until("WATCHDOG=1").await;
    let workers = workers(&node);
    assert_eq!(workers.len(), 2, "{workers:?}");
    for worker in workers {
        let stopped = StoppedThread::new(worker).await;
        // What the workers answered before that may still be told.
        let _ = tokio::time::timeout(WATCHDOG, manager.until("WATCHDOG=1")).await;
        manager.drain();
        // Nothing for as long as systemd would wait: it would end the node.
        let told = tokio::time::timeout(WATCHDOG, manager.until("WATCHDOG=1")).await;
        assert!(told.is_err(), "{told:?}");
        node.logged("a worker does not answer").await;
        // The main thread goes on.
        node.signal(Signal::SIGHUP);
        let (_, before) = manager.until("READY=1").await;
        assert!(before.iter().all(|message| !message.contains("WATCHDOG")), "{before:?}");
        drop(stopped);
        manager.until("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn the_watchdog_is_not_told_while_the_main_thread_hangs() {
    let manager = Manager::start();
    let node = manager.watching().start().await;
    manager.until("WATCHDOG=1").await;
    let stopped = StoppedThread::new(node.pid()).await;
    manager.drain();
    let told = tokio::time::timeout(WATCHDOG, manager.next()).await;
    assert!(told.is_err(), "{told:?}");
    // The workers go on.
    assert_eq!(get(&node, "/livez").await.status, 200);
    drop(stopped);
    manager.until("WATCHDOG=1").await;
}
