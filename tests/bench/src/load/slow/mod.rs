//! The effect of slow readers on the node and on healthy clients: nothing may remain once they are gone. With
//! Discord's protocol, some of them resume their sessions afterwards and must miss nothing.

mod client_records;
mod phase;
mod report;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Parser;

pub use self::report::{SlowPhaseReport, SlowReport};
use self::{client_records::ClientRecords, phase::SlowPhase};
use super::{
    client::LoadProtocol,
    client_set::ClientSet,
    cores::{Cores, on_a_thread},
    gateway::{Gateway, binary},
    publisher::Pace,
};

/// How long the node may take to exit. Its own deadline is 8 seconds.
const LEAVE: Duration = Duration::from_secs(30);
/// How long the loop waits for socket events.
const IDLE: Duration = Duration::from_millis(10);

/// `cluster.log_bytes` of a node with Discord sessions: the log that they resume from.
const LOG_BYTES: u32 = 32 * 1024 * 1024;
/// That of a node with sessions of version 1, which catch up on nothing here.
const V1_LOG_BYTES: u32 = 1024 * 1024;
/// Routes the event to Discord sessions, all of which may identify at once. Version 1 needs no file: development mode
/// routes the event to bots.
const EVENTS: &str = r#"
[[applications]]
id = "utilbot"
max_concurrency = 65535
session_starts_per_day = 1000000

[[events]]
name = "announce"
from = ["service"]
to = ["discord"]
"#;

/// Publishes large events to healthy clients, first alone, then alongside waves of clients that read nothing or too
/// slowly.
#[derive(Debug, Clone, Parser)]
#[command(name = "slow")]
pub struct SlowOptions {
    /// The protocol of all clients. With Discord's, clients that read again resume their sessions
    #[arg(long, value_enum, default_value = "v1")]
    pub protocol: LoadProtocol,
    /// Clients of each wave that stop reading once they have identified
    #[arg(long, default_value_t = 200)]
    pub stopped: u32,
    /// Clients of each wave that read 64 KiB every half second
    #[arg(long, default_value_t = 50)]
    pub drip: u32,
    /// How many of the stopped clients read again once the node has evicted them
    #[arg(long, default_value_t = 100)]
    pub resuming: u32,
    /// Clients that read everything, from the beginning to the end
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub healthy: u32,
    /// Waves of slow clients
    #[arg(long, default_value_t = 2)]
    pub waves: u32,
    /// Minimum duration of the phase without slow clients and of each wave, in seconds
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// Maximum seconds until every slow client of a wave is evicted
    #[arg(long, default_value_t = 90)]
    pub deadline_seconds: u32,
    /// Seconds between the end of a wave and the reading of the node's memory
    #[arg(long, default_value_t = 10)]
    pub settle_seconds: u32,
    /// Events per second, of 16 to 64 KiB
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// The node's `limits.outbox_bytes`
    #[arg(long, default_value_t = 1_048_576)]
    pub outbox_bytes: u32,
    /// The node's `limits.outbox_age_ms`
    #[arg(long, default_value_t = 15_000)]
    pub outbox_age_ms: u32,
    /// Per cent by which the node's memory after a wave may exceed that after the first wave
    #[arg(long, default_value_t = 10)]
    pub growth_percent: u32,
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

impl SlowOptions {
    fn pace(&self) -> Pace {
        Pace {
            gap: Duration::from_secs(1) / self.rate,
            least: 16 * 1024,
            most: 64 * 1024,
        }
    }

    /// Returns the maximum number of simultaneous clients. The clients of a wave are gone before the next one.
    fn clients(&self) -> u32 {
        let resumed = match self.protocol {
            LoadProtocol::V1 => 0,
            LoadProtocol::Discord => self.resuming,
        };
        self.healthy + self.stopped + self.drip + resumed
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("limits.outbox_bytes", self.outbox_bytes.to_string()),
            ("limits.outbox_age_ms", self.outbox_age_ms.to_string()),
            ("limits.connections", (self.clients() + 16).to_string()),
        ];
        match self.protocol {
            // The clients send no heartbeats: this tool is about reading.
            LoadProtocol::V1 => settings.extend([
                ("v1.heartbeat_interval_ms", 3_600_000.to_string()),
                ("cluster.log_bytes", V1_LOG_BYTES.to_string()),
            ]),
            LoadProtocol::Discord => settings.extend([
                ("discord.heartbeat_interval_ms", 3_600_000.to_string()),
                ("discord.hello_delay_ms", 0.to_string()),
                ("cluster.log_bytes", LOG_BYTES.to_string()),
            ]),
        }
        settings
    }

    fn file(&self) -> Option<&'static str> {
        match self.protocol {
            LoadProtocol::V1 => None,
            LoadProtocol::Discord => Some(EVENTS),
        }
    }
}

/// Runs a node and its clients.
///
/// # Errors
/// Fails if the run itself breaks: the node does not start, violates the protocol, or refuses an event. Lost and late
/// events are reported, not errors.
pub fn run(options: &SlowOptions) -> Result<SlowReport> {
    ensure!(
        options.resuming <= options.stopped,
        "--resuming is greater than --stopped"
    );
    on_a_thread(|| SlowRun::start(options)?.finish())
}

struct SlowRun<'a> {
    options: &'a SlowOptions,
    gateway: Gateway,
    client_set: ClientSet,
    records: ClientRecords,
    /// Announcements are stamped with the time since this moment.
    origin: Instant,
    /// The number of the next announcement.
    next: u32,
}

impl<'a> SlowRun<'a> {
    fn start(options: &'a SlowOptions) -> Result<Self> {
        let cores = if options.no_pin { None } else { Cores::choose()? };
        let binary = binary(options.gateway.as_deref())?;
        let gateway = Gateway::start(&binary, &options.settings(), options.file(), cores)?;
        let client_set = ClientSet::new(gateway.address, options.protocol, &gateway.key, options.clients())?;
        let origin = Instant::now();
        Ok(Self {
            options,
            gateway,
            client_set,
            records: ClientRecords::new(origin),
            origin,
            next: 1,
        })
    }

    fn finish(mut self) -> Result<SlowReport> {
        let empty_kib = self.gateway.usage()?.resident_kib;
        self.admit_healthy()?;
        let mut phases = vec![SlowPhase::run(&mut self, "alone", 0, 0)?];
        for wave in 1..=self.options.waves {
            let (stopped, drip) = (self.options.stopped, self.options.drip);
            phases.push(SlowPhase::run(&mut self, &format!("wave {wave}"), stopped, drip)?);
        }
        let clean_exit = self.leave()?;
        Ok(SlowReport {
            protocol: self.options.protocol,
            healthy: self.options.healthy,
            outbox_bytes: self.options.outbox_bytes,
            outbox_age_ms: self.options.outbox_age_ms,
            growth_percent: self.options.growth_percent,
            log_kib: match self.options.protocol {
                LoadProtocol::V1 => 0,
                LoadProtocol::Discord => LOG_BYTES / 1024,
            },
            empty_kib,
            phases,
            clean_exit,
            log: self.gateway.log()?,
        })
    }

    fn turn(&mut self, timeout: Duration) -> Result<()> {
        let Self {
            client_set, records, ..
        } = self;
        client_set.turn(timeout, &mut |number, event| records.record(number, event))
    }

    /// Stops the node. Returns whether it exited with success in time.
    fn leave(&mut self) -> Result<bool> {
        self.records.expect_end();
        self.gateway.terminate()?;
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            self.turn(IDLE)?;
            if let Some(status) = self.gateway.exited()? {
                return Ok(status.success());
            }
        }
        Ok(false)
    }
}
