//! The cost of requests that never end: one address opens more of them than it may, and the node refuses the rest. A
//! healthy client at another address measures the effect on others.

use std::{
    fmt,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use gateway_harness::ToolReport;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    cores::on_a_thread,
    gateway::{Gateway, binary},
    latencies::{Latencies, LatencySummary},
    source::raise_descriptor_limit,
};

/// Source address of the client that never finishes its requests, and of the healthy one.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HEALTHY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Timeout of a connect, a write and a read.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between two requests of the healthy client.
const LIVEZ_INTERVAL: Duration = Duration::from_millis(5);
/// How long the node has to close the connections it refuses.
const SETTLE: Duration = Duration::from_secs(3);
/// `Content-Length` of the request bodies. All bytes but the last are sent.
const BODY_BYTES: usize = 1 << 20;

/// Opens requests that never end from one address, while a client at another address polls `/livez`.
#[derive(Debug, Clone, Parser)]
#[command(name = "unfinished")]
pub struct UnfinishedOptions {
    /// Requests whose head never ends
    #[arg(long, default_value_t = 3000)]
    pub heads: u32,
    /// Requests whose 1 MiB body lacks the last byte
    #[arg(long, default_value_t = 1000)]
    pub bodies: u32,
    /// Sends the bodies with a key that may publish
    #[arg(long)]
    pub with_key: bool,
    /// Seconds in which only the healthy client sends requests, before and after the others
    #[arg(long, default_value_t = 2)]
    pub seconds: u32,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What happened to the requests of one kind.
#[derive(Debug, Default, Serialize)]
pub struct UnfinishedRequests {
    /// Requests started.
    pub begun: u32,
    /// Requests that were still open some time after all had been started.
    pub open: u32,
    /// Peak resident memory meanwhile, in KiB above that of the idle node.
    pub more_kib: i64,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct UnfinishedReport {
    /// Resident KiB of the idle node.
    pub empty_kib: u32,
    /// Requests with unfinished heads.
    pub heads: UnfinishedRequests,
    /// Requests with unfinished bodies.
    pub bodies: UnfinishedRequests,
    /// Latency of `/livez` from the other address, before the unfinished requests.
    pub alone: LatencySummary,
    /// Latency of `/livez` while the unfinished requests were open.
    pub beside: LatencySummary,
    /// How often `/livez` was not answered.
    pub unanswered: u32,
}

impl ToolReport for UnfinishedReport {
    fn failures(&self) -> Vec<String> {
        let unanswered = (self.unanswered > 0).then(|| format!("/livez had no answer {} times", self.unanswered));
        unanswered.into_iter().collect()
    }
}

impl fmt::Display for UnfinishedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the node alone: {} KiB", self.empty_kib)?;
        for (name, requests) in [("heads", &self.heads), ("bodies", &self.bodies)] {
            writeln!(
                f,
                "{} unfinished {name}: {} open, at most {:+} KiB",
                requests.begun, requests.open, requests.more_kib
            )?;
        }
        for (name, summary) in [("alone", &self.alone), ("beside", &self.beside)] {
            let LatencySummary { p50_ms, p99_ms, max_ms } = summary;
            writeln!(
                f,
                "/livez of another address {name}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms"
            )?;
        }
        write!(f, "without an answer: {}", self.unanswered)
    }
}

/// Runs a node and its clients.
///
/// # Errors
/// Fails if the node does not start or its memory cannot be read.
pub fn run(options: &UnfinishedOptions) -> Result<UnfinishedReport> {
    raise_descriptor_limit(options.heads + options.bodies)?;
    on_a_thread(|| {
        let gateway = Gateway::start(&binary(options.gateway.as_deref())?, &[], None, None)?;
        let empty_kib = gateway.usage()?.resident_kib;
        let alone = ask_for(gateway.address, Duration::from_secs(options.seconds.into()));
        let is_over = AtomicBool::new(false);
        let (requests, beside) = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_until(gateway.address, || is_over.load(Relaxed)));
            let requests = begin_all(options, &gateway, empty_kib);
            is_over.store(true, Relaxed);
            (requests, asking.join())
        });
        let (heads, bodies) = requests?;
        let beside = beside.map_err(|_| anyhow!("the healthy client panicked"))?;
        let after = ask_for(gateway.address, Duration::from_secs(options.seconds.into()));
        Ok(UnfinishedReport {
            empty_kib,
            heads,
            bodies,
            unanswered: alone.unanswered + beside.unanswered + after.unanswered,
            alone: alone.latencies.summary(),
            beside: beside.latencies.summary(),
        })
    })
}

/// Opens the unfinished heads, then the unfinished bodies.
fn begin_all(
    options: &UnfinishedOptions,
    gateway: &Gateway,
    empty_kib: u32,
) -> Result<(UnfinishedRequests, UnfinishedRequests)> {
    let head = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    let heads = begin(options.heads, &head, gateway, empty_kib)?;
    let mut body = head;
    if options.with_key {
        write!(body, "Authorization: Bearer {}\r\n", gateway.key)?;
    }
    write!(body, "Content-Length: {BODY_BYTES}\r\n\r\n")?;
    body.resize(body.len() + BODY_BYTES - 1, b'x');
    let bodies = begin(options.bodies, &body, gateway, empty_kib)?;
    Ok((heads, bodies))
}

/// Opens `count` requests with these bytes, and closes all of them at the end.
fn begin(count: u32, bytes: &[u8], gateway: &Gateway, empty_kib: u32) -> Result<UnfinishedRequests> {
    let (mut streams, mut more_kib) = (Vec::new(), 0);
    for number in 0..count {
        let stream = connect(ATTACKER, gateway.address);
        // The write fails if the node has already refused the connection or has answered early.
        if let Ok(mut stream) = stream {
            let _ = stream.write_all(bytes);
            streams.push(stream);
        }
        if number % 16 == 0 || number + 1 == count {
            more_kib = more_kib.max(i64::from(gateway.usage()?.resident_kib) - i64::from(empty_kib));
        }
    }
    thread::park_timeout(SETTLE);
    let open = streams.iter_mut().filter_map(|stream| is_open(stream).ok());
    Ok(UnfinishedRequests {
        begun: count,
        open: u32::try_from(open.filter(|is_open| *is_open).count())?,
        more_kib,
    })
}

fn connect(source: Ipv4Addr, address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&address.into(), TIMEOUT).context("connecting")?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Returns whether the node has kept the connection open, even if it has answered.
fn is_open(stream: &mut TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        }
    }
}

/// What the healthy client measured.
#[derive(Default)]
struct LivezStats {
    latencies: Latencies,
    unanswered: u32,
}

fn ask_for(address: SocketAddr, time: Duration) -> LivezStats {
    let until = Instant::now() + time;
    ask_until(address, || Instant::now() >= until)
}

/// Requests `/livez` repeatedly, each time on a new connection.
fn ask_until(address: SocketAddr, is_over: impl Fn() -> bool) -> LivezStats {
    let mut stats = LivezStats::default();
    while !is_over() {
        let since = Instant::now();
        match ask(address) {
            Ok(()) => stats.latencies.add(since.elapsed()),
            Err(_) => stats.unanswered += 1,
        }
        thread::park_timeout(LIVEZ_INTERVAL);
    }
    stats
}

fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = connect(HEALTHY, address)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}
