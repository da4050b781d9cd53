//! What requests that never end cost a node and everybody else: one address opens more than it may, the rest is refused.

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
use gateway_harness::Outcome;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    cores::on_a_thread,
    gateway::{Gateway, binary},
    latencies::{Latencies, LatencySummary},
    source::raise_descriptor_limit,
};

/// The address of the client that never ends a request, and the one of the client beside it.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HEALTHY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// How long a send or an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the healthy client asks.
const LIVEZ_INTERVAL: Duration = Duration::from_millis(5);
/// How long the node has to end the requests that it refuses.
const SETTLE: Duration = Duration::from_secs(3);
/// The bytes that a body declares. All but the last are sent.
const BODY_BYTES: usize = 1 << 20;

/// Opens requests that never end, from one address, beside a client of another that asks whether the node lives.
#[derive(Debug, Clone, Parser)]
#[command(name = "unfinished")]
pub struct UnfinishedOptions {
    /// Requests whose head never ends
    #[arg(long, default_value_t = 3000)]
    pub heads: u32,
    /// Requests with all of 1 MiB of body but the last byte
    #[arg(long, default_value_t = 1000)]
    pub bodies: u32,
    /// Sends a key that may publish with each body
    #[arg(long)]
    pub with_key: bool,
    /// Seconds of the healthy client alone, before and after
    #[arg(long, default_value_t = 2)]
    pub seconds: u32,
    /// The node's binary, where it is not beside this one
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What became of requests of one kind.
#[derive(Debug, Default, Serialize)]
pub struct UnfinishedRequests {
    /// That were begun.
    pub begun: u32,
    /// That the node has not ended a while after all of them were begun.
    pub open: u32,
    /// The most resident KiB meanwhile, beyond those of the node alone.
    pub more_kib: i64,
}

/// The result of a run. Its `Display` is a table.
#[derive(Debug, Serialize)]
pub struct UnfinishedReport {
    /// Resident KiB of the node alone.
    pub empty_kib: u32,
    /// Requests without the end of their heads.
    pub heads: UnfinishedRequests,
    /// Requests without the end of their bodies.
    pub bodies: UnfinishedRequests,
    /// `/livez` from another address, alone.
    pub alone: LatencySummary,
    /// The same beside the requests.
    pub beside: LatencySummary,
    /// How often that had no answer.
    pub unanswered: u32,
}

impl Outcome for UnfinishedReport {
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
/// When the node does not start or cannot be looked at.
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

/// Begins the requests of both kinds, one kind after the other.
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

/// Begins so many requests with these bytes, and ends them together.
fn begin(count: u32, bytes: &[u8], gateway: &Gateway, empty_kib: u32) -> Result<UnfinishedRequests> {
    let (mut streams, mut more_kib) = (Vec::new(), 0);
    for number in 0..count {
        let stream = connect(ATTACKER, gateway.address);
        // The node may have refused it already, or answered before it has all of it.
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

/// Whether the node has neither ended nor reset a connection, whatever it has answered.
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

/// What the healthy client has seen.
#[derive(Default)]
struct LivezStats {
    latencies: Latencies,
    unanswered: u32,
}

fn ask_for(address: SocketAddr, time: Duration) -> LivezStats {
    let until = Instant::now() + time;
    ask_until(address, || Instant::now() >= until)
}

/// Asks again and again whether the node lives, each time on a connection of its own.
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
