//! The cost of identified sessions that only send heartbeats: memory, CPU, and whether all of them stay connected.

mod clients;
mod report;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Parser;

pub use self::report::HeartbeatReport;
use self::{clients::Clients, report::Costs};
use super::{
    announcement::Announcement,
    client::LoadProtocol,
    client_set::{ClientSet, ReadMode},
    cores::{Cores, on_a_thread},
    gateway::{Gateway, binary},
    http::Http,
};

/// How long all clients together may take to connect and identify.
const CONNECT: Duration = Duration::from_secs(180);
/// How long an event may take to reach all clients.
const DELIVER: Duration = Duration::from_secs(60);
/// How long the node may take to exit. Its own deadline is 8 seconds.
const LEAVE: Duration = Duration::from_secs(30);
/// Simultaneous connection attempts: fewer than the node's backlog holds.
const IN_FLIGHT: u32 = 256;
/// How long the loop waits for socket events when no heartbeat is due.
const IDLE: Duration = Duration::from_millis(20);

/// Holds many identified sessions on one node, sends their heartbeats, and counts losses.
#[derive(Debug, Clone, Parser)]
#[command(name = "heartbeat")]
pub struct HeartbeatOptions {
    /// Sessions
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: u32,
    /// Milliseconds between two heartbeats of a session
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub interval_ms: u32,
    /// Seconds of heartbeats
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// Milliseconds after which an ACK counts as late
    #[arg(long, default_value_t = 10_000)]
    pub ack_deadline_ms: u32,
    /// Does not pin the node and its clients to a core each
    #[arg(long)]
    pub no_pin: bool,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl HeartbeatOptions {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.into())
    }

    /// Returns the number of heartbeats in the whole run.
    fn beats(&self) -> u32 {
        let beats = u64::from(self.seconds) * 1000 * u64::from(self.sessions) / u64::from(self.interval_ms);
        u32::try_from(beats).unwrap_or(u32::MAX)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let per_minute = 60_000 / self.interval_ms + 1;
        vec![
            ("v1.heartbeat_interval_ms", self.interval_ms.to_string()),
            ("limits.payloads_per_minute", (2 * per_minute + 60).to_string()),
            ("limits.connections", (self.sessions + 16).to_string()),
        ]
    }
}

/// Runs a node and its clients.
///
/// # Errors
/// Fails if the run itself breaks: the node does not start, violates the protocol, or stops answering HTTP. Losses
/// are reported, not errors.
pub fn run(options: &HeartbeatOptions) -> Result<HeartbeatReport> {
    on_a_thread(|| HeartbeatRun::start(options)?.finish())
}

struct HeartbeatRun<'a> {
    options: &'a HeartbeatOptions,
    gateway: Gateway,
    client_set: ClientSet,
    clients: Clients,
}

impl<'a> HeartbeatRun<'a> {
    fn start(options: &'a HeartbeatOptions) -> Result<Self> {
        let cores = if options.no_pin { None } else { Cores::choose()? };
        let gateway = Gateway::start(&binary(options.gateway.as_deref())?, &options.settings(), None, cores)?;
        let client_set = ClientSet::new(gateway.address, LoadProtocol::V1, &gateway.key, options.sessions)?;
        let clients = Clients::new(options.sessions, Duration::from_millis(options.ack_deadline_ms.into()));
        Ok(Self {
            options,
            gateway,
            client_set,
            clients,
        })
    }

    fn finish(mut self) -> Result<HeartbeatReport> {
        let before = self.gateway.usage()?;
        let began = Instant::now();
        self.connect()?;
        let connecting = began.elapsed();
        let idle = self.gateway.usage()?;
        let began = Instant::now();
        self.beat()?;
        let beating = began.elapsed();
        let end = self.gateway.usage()?;
        self.announce()?;
        let clean = self.leave()?;
        let costs = Costs {
            before,
            connecting,
            idle,
            beating,
            end,
        };
        Ok(HeartbeatReport::new(
            self.options,
            &costs,
            self.clients,
            clean,
            self.gateway.log()?,
        ))
    }

    fn turn(&mut self, timeout: Duration) -> Result<()> {
        let Self {
            client_set, clients, ..
        } = self;
        client_set.turn(timeout, &mut |number, event| clients.record(number, &event))
    }

    /// Connects and identifies all clients.
    fn connect(&mut self) -> Result<()> {
        let deadline = Instant::now() + CONNECT;
        let mut beaten = Instant::now();
        let mut opened = 0;
        while self.clients.settled() < self.options.sessions {
            ensure!(
                Instant::now() < deadline,
                "only {} clients have identified within {CONNECT:?}",
                self.clients.identified()
            );
            while opened < self.options.sessions && opened - self.clients.settled() < IN_FLIGHT {
                self.client_set.open(ReadMode::Eager, None)?;
                opened += 1;
            }
            self.turn(IDLE)?;
            if beaten.elapsed() >= self.options.interval() {
                // The first clients must not time out while the last are still connecting.
                beaten = Instant::now();
                self.clients.beat_all(&mut self.client_set);
            }
        }
        Ok(())
    }

    /// Sends heartbeats for all clients in turn, spread evenly over the interval, and waits for the last ACKs.
    fn beat(&mut self) -> Result<()> {
        let start = Instant::now();
        let gap = self.options.interval() / self.options.sessions;
        let beats = self.options.beats();
        let mut beat = 0;
        while beat < beats {
            let now = Instant::now();
            let mut due = start + gap * beat;
            while due <= now && beat < beats {
                self.clients
                    .beat(&mut self.client_set, (beat % self.options.sessions) as usize);
                beat += 1;
                due = start + gap * beat;
            }
            self.turn(due.saturating_duration_since(now))?;
        }
        let deadline = Instant::now() + Duration::from_millis(self.options.ack_deadline_ms.into());
        while self.clients.unanswered() > 0 && Instant::now() < deadline {
            self.turn(IDLE)?;
        }
        Ok(())
    }

    /// Publishes one event to all clients and a second one after it: once a client has the second, the first can no
    /// longer arrive.
    fn announce(&mut self) -> Result<()> {
        let mut http = Http::connect(self.gateway.address, &self.gateway.key)?;
        for number in 1..=2 {
            http.publish(&Announcement { number, sent_us: 0 }.event(200))?;
        }
        let deadline = Instant::now() + DELIVER;
        while self.clients.reached() < self.clients.open() && Instant::now() < deadline {
            self.turn(IDLE)?;
        }
        Ok(())
    }

    /// Stops the node. Returns whether it exited with success in time.
    fn leave(&mut self) -> Result<bool> {
        self.clients.expect_shutdown();
        self.gateway.terminate()?;
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            self.turn(IDLE)?;
            if let Some(status) = self.gateway.exited()? {
                // Its last messages may still wait to be read.
                while self.clients.open() > 0 && Instant::now() < deadline {
                    self.turn(IDLE)?;
                }
                return Ok(status.success());
            }
        }
        Ok(false)
    }
}
