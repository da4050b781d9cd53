//! The service manager that started the node, such as systemd: what it wants to be told, and how it is told
//! (`sd_notify(3)`).

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// How long a message may wait for room in the service manager's queue.
const SEND: Duration = Duration::from_secs(1);

/// The service manager of this process. Without one, messages go nowhere.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    /// The path of its socket; `@` begins the name of an abstract one.
    socket: Option<String>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. `pid` is the id of this process: a watchdog for another
    /// one is ignored.
    pub fn of(environment: &[(String, String)], pid: u32) -> Self {
        let value = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let is_ours = value("WATCHDOG_PID").is_none_or(|watched| watched.parse() == Ok(pid));
        let micros = value("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        Self {
            socket: value("NOTIFY_SOCKET").map(str::to_owned),
            watchdog: micros
                .filter(|micros| is_ours && *micros > 0)
                .map(Duration::from_micros),
        }
    }

    /// Returns how long it waits for a sign of life before it ends the process, if it does.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog)
    }

    /// Sends assignments, one per line, such as `READY=1`. Waits up to [`SEND`].
    ///
    /// # Errors
    /// If it cannot be told: its socket is gone, or it does not read.
    pub(super) async fn tell(&self, message: &str) -> io::Result<()> {
        let Some(path) = &self.socket else { return Ok(()) };
        // A socket for each message, as systemd's own library does: the service manager may have been restarted.
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(path)?)?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        match tokio::time::timeout(SEND, socket.send(message.as_bytes())).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Parses the path of a socket as `NOTIFY_SOCKET` writes it.
fn address(path: &str) -> io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if path.starts_with('/') => SocketAddr::from_pathname(path),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "NOTIFY_SOCKET is neither a path nor an abstract name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(variables: &[(&str, &str)]) -> ServiceManager {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ServiceManager::of(&variables.iter().map(owned).collect::<Vec<_>>(), 7)
    }

    #[test]
    fn a_watchdog_for_another_process_or_without_a_socket_is_ignored() {
        let socket = ("NOTIFY_SOCKET", "/run/notify");
        let time = ("WATCHDOG_USEC", "2000");
        for (variables, expected) in [
            (&[socket, time][..], Some(Duration::from_millis(2))),
            (&[socket, time, ("WATCHDOG_PID", "7")], Some(Duration::from_millis(2))),
            (&[socket, time, ("WATCHDOG_PID", "8")], None),
            (&[socket, time, ("WATCHDOG_PID", "")], Some(Duration::from_millis(2))),
            (&[socket, ("WATCHDOG_USEC", "0")], None),
            (&[socket, ("WATCHDOG_USEC", "soon")], None),
            (&[time], None),
            (&[socket], None),
        ] {
            assert_eq!(manager(variables).watchdog(), expected, "{variables:?}");
        }
    }

    #[tokio::test]
    async fn messages_reach_sockets_with_a_path_and_abstract_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").display().to_string();
        let name = format!("@utilbot-test-{}", std::process::id());
        for socket in [&path, &name] {
            let receiver = UnixDatagram::bind_addr(&address(socket).unwrap()).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            manager(&[("NOTIFY_SOCKET", socket)])
                .tell("READY=1\nSTATUS=ready")
                .await
                .unwrap();
            let mut buffer = [0; 100];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=ready");
        }
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_used_is_an_error_and_none_at_all_is_not() {
        for socket in ["/gone/notify", "vsock:2:1234", "relative"] {
            assert!(manager(&[("NOTIFY_SOCKET", socket)]).tell("READY=1").await.is_err());
        }
        assert!(ServiceManager::default().tell("READY=1").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_manager_that_does_not_read_is_not_waited_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        let mut told = Ok(());
        for _ in 0..10_000 {
            told = manager.tell("STATUS=x").await;
            if told.is_err() {
                break;
            }
        }
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
