//! Requests through NATS: two servers of one cluster, or one of them, over plain TCP, with the client written here.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_harness::eventually;
use tokio::runtime::Runtime;

use super::responder::{ANSWER, Requester};

/// How long two servers may take until requests pass between them.
const START: Duration = Duration::from_secs(20);

/// Two servers that form a cluster. They are killed on drop.
pub(super) struct NatsServers {
    children: Vec<Child>,
    /// Where the two listen.
    pub(super) addresses: [SocketAddr; 2],
}

impl NatsServers {
    /// Starts both and waits until they know each other.
    pub(super) fn start(runtime: &Runtime) -> Result<Self> {
        let ports = free_ports()?;
        let [client_ports, routes] = [[ports[0], ports[1]], [ports[2], ports[3]]];
        let mut servers = Self {
            children: Vec::new(),
            addresses: client_ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        };
        for (client, route) in client_ports.into_iter().zip(routes) {
            let mut command = Command::new("nats-server");
            command
                .args(["--addr", "127.0.0.1", "--port", &client.to_string()])
                .args([
                    "--cluster_name",
                    "replies",
                    "--cluster",
                    &format!("nats://127.0.0.1:{route}"),
                ])
                .args(["--routes", &format!("nats://127.0.0.1:{}", routes[0])])
                .env("GOMAXPROCS", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let child = command.spawn();
            servers
                .children
                .push(child.context("starting nats-server; tests/bench/peers/install.sh nats installs it")?);
        }
        for address in servers.addresses {
            let listening = eventually("nats-server listens", async || {
                tokio::net::TcpStream::connect(address).await.ok().map(drop)
            });
            runtime.block_on(listening);
        }
        Ok(servers)
    }
}

impl Drop for NatsServers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // A server that has ended needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports() -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..4)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// A connection to a server.
struct NatsConnection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A received message.
struct NatsMessage {
    subject: String,
    reply_to: Option<String>,
}

impl NatsConnection {
    /// Connects and subscribes to a subject.
    fn subscribe(address: SocketAddr, subject: &str) -> Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(ANSWER))?;
        let mut connection = Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
        };
        connection.line()?;
        let greeting = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        connection.writer.write_all(greeting.as_bytes())?;
        while connection.line()? != "PONG" {}
        Ok(connection)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.reader.read_line(&mut line)? > 0,
            "nats-server closed the connection"
        );
        Ok(line.trim_end().to_owned())
    }

    /// Returns the next message. Answers pings.
    fn next(&mut self) -> Result<NatsMessage> {
        loop {
            let line = self.line()?;
            let words: Vec<_> = line.split(' ').collect();
            let (subject, reply_to, bytes) = match words[..] {
                ["PING"] => {
                    self.writer.write_all(b"PONG\r\n")?;
                    continue;
                }
                ["PONG"] => continue,
                ["MSG", subject, _, bytes] => (subject, None, bytes),
                ["MSG", subject, _, reply_to, bytes] => (subject, Some(reply_to), bytes),
                _ => bail!("{line:?} from nats-server"),
            };
            let mut payload = vec![0; bytes.parse::<usize>()? + 2];
            self.reader.read_exact(&mut payload)?;
            return Ok(NatsMessage {
                subject: subject.to_owned(),
                reply_to: reply_to.map(str::to_owned),
            });
        }
    }
}

/// A client that asks one responder.
pub(super) struct NatsRequester {
    connection: NatsConnection,
    subject: String,
    padding: String,
}

impl NatsRequester {
    /// Connects a responder to `to` and a requester to `from`. `subject` is different for each pair.
    pub(super) fn connect(from: SocketAddr, to: SocketAddr, subject: &str, payload: usize) -> Result<Self> {
        let mut responder = NatsConnection::subscribe(to, subject)?;
        responder.writer.set_read_timeout(Some(ANSWER * 100))?;
        thread::spawn(move || -> Result<()> {
            let body = r#"{"prefix":"!"}"#;
            loop {
                if let Some(reply_to) = responder.next()?.reply_to {
                    let reply = format!("PUB {reply_to} {}\r\n{body}\r\n", body.len());
                    responder.writer.write_all(reply.as_bytes())?;
                }
            }
        });
        let mut requester = Self {
            connection: NatsConnection::subscribe(from, &format!("_INBOX.{subject}.*"))?,
            subject: subject.to_owned(),
            padding: format!(r#"{{"guildId":"1","padding":"{}"}}"#, "x".repeat(payload)),
        };
        requester
            .connection
            .writer
            .set_read_timeout(Some(Duration::from_millis(100)))?;
        // Until the servers have told each other who is subscribed where, requests go nowhere.
        let until = Instant::now() + START;
        let mut is_answered = false;
        while !is_answered {
            ensure!(Instant::now() < until, "nobody answers through nats-server");
            requester.ask(u64::MAX)?;
            is_answered = requester.replies(&mut |_| {}).is_ok();
        }
        // Replies to the other attempts.
        while requester.replies(&mut |_| {}).is_ok() {}
        requester.connection.writer.set_read_timeout(Some(ANSWER))?;
        Ok(requester)
    }
}

impl Requester for NatsRequester {
    fn ask(&mut self, number: u64) -> Result<()> {
        let Self { subject, padding, .. } = self;
        let request = format!(
            "PUB {subject} _INBOX.{subject}.{number} {}\r\n{padding}\r\n",
            padding.len()
        );
        Ok(self.connection.writer.write_all(request.as_bytes())?)
    }

    fn replies(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        let message = self.connection.next()?;
        let number = message.subject.rsplit('.').next().unwrap_or_default();
        each(number.parse().context("the number of a request")?);
        Ok(())
    }
}
