//! The effect on healthy clients of clients that never identify and flood the node with packets that inflate to the
//! largest message allowed.

mod attack;
mod probe;
mod report;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;

pub use self::report::{StrangersPhase, StrangersReport};
use self::{attack::attack, probe::HealthyProbe};
use super::{
    attacker::Attacker,
    cores::on_a_thread,
    gateway::{Gateway, binary},
    http::Http,
};

/// Measures heartbeats and connects of healthy clients, first alone, then while unidentified clients flood the node.
#[derive(Debug, Clone, Parser)]
#[command(name = "strangers")]
pub struct StrangersOptions {
    /// Clients that never identify and send compressed packets as fast as the node reads them
    #[arg(long, default_value_t = 100)]
    pub strangers: u32,
    /// Healthy clients that send heartbeats
    #[arg(long, default_value_t = 10)]
    pub healthy: u32,
    /// Seconds of each phase: without strangers, and with them
    #[arg(long, default_value_t = 8)]
    pub seconds: u32,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Runs as the strangers of another run, against this address
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub attack: Option<SocketAddr>,
}

/// Runs a node and its clients, or becomes the attacker process.
///
/// # Errors
/// Fails if the node does not start, or if a healthy client is not served.
pub fn run(options: &StrangersOptions) -> Result<Option<StrangersReport>> {
    if let Some(address) = options.attack {
        attack(address, options.strangers)?;
        return Ok(None);
    }
    on_a_thread(|| measure(options)).map(Some)
}

fn measure(options: &StrangersOptions) -> Result<StrangersReport> {
    let gateway = Gateway::start(&binary(options.gateway.as_deref())?, &[], None, None)?;
    let probe = HealthyProbe {
        address: gateway.address,
        key: gateway.key.clone(),
        healthy: options.healthy,
        time: Duration::from_secs(options.seconds.into()),
    };
    let phase = |name: &str| -> Result<StrangersPhase> {
        // On a new connection each time: the node closes one that stays idle for a whole phase.
        let dropped = || {
            let metrics = Http::connect(gateway.address, &gateway.key)?.metrics()?;
            anyhow::Ok(report::dropped(&metrics))
        };
        let (before, dropped_before) = (gateway.usage()?, dropped()?);
        let served = probe.run()?;
        let after = gateway.usage()?;
        Ok(StrangersPhase {
            name: name.to_owned(),
            heartbeat: served.heartbeat,
            connect: served.connect,
            lost: served.lost,
            dropped: dropped()? - dropped_before,
            cpu_percent: after.cpu_us_since(&before) / 1e4 / f64::from(options.seconds.max(1)),
        })
    };
    let alone = phase("alone")?;
    let arguments = ["--attack".to_owned(), gateway.address.to_string()];
    let strangers = ["--strangers".to_owned(), options.strangers.to_string()];
    let mut attacker = Attacker::start("strangers", &[arguments, strangers].concat())?;
    let beside = phase("strangers")?;
    Ok(StrangersReport {
        strangers: options.strangers,
        attacked: !attacker.has_ended()?,
        phases: [alone, beside],
        log: gateway.log()?,
    })
}
