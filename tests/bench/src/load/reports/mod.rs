//! The effect of bots that constantly report changed guilds on the publishers of another application.

mod attack;
mod report;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Parser;
use gateway_harness::{RedisProcess, SECRET, key};
use tokio::time::sleep;

use self::attack::attack;
pub use self::report::{ReportsPhase, ReportsSummary};
use super::{
    attacker::Attacker,
    cores::on_a_thread,
    gateway::{Gateway, binary},
    http::Http,
    latencies::Latencies,
    usage::Usage,
};

/// Interval between two events of the publisher.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// How long the node may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes for one application: twice alone, then while bots of another application report constantly.
#[derive(Debug, Clone, Parser)]
#[command(name = "reports")]
pub struct ReportsOptions {
    /// Reporting bots, each with a key of its own
    #[arg(long, default_value_t = 8)]
    pub bots: u32,
    /// Guild ids in each report, none of which was in the report before
    #[arg(long, default_value_t = 6500, value_parser = clap::value_parser!(u32).range(1..=6500))]
    pub ids: u32,
    /// Reports per second and bot
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Seconds of each phase: twice without bots, and then with them
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Runs as the bots of another run, against this address
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub attack: Option<SocketAddr>,
}

/// Runs Redis, a node and its clients, or becomes the process of the bots.
///
/// # Errors
/// Fails if the node does not start or refuses an event.
pub fn run(options: &ReportsOptions) -> Result<Option<ReportsSummary>> {
    if let Some(address) = options.attack {
        attack(address, options)?;
        return Ok(None);
    }
    on_a_thread(|| measure(options)).map(Some)
}

/// Returns the configuration file: the bots' application and the publisher's, each with its keys.
fn file(bots: u32) -> String {
    let mut file = format!(
        "[[applications]]\nid = \"busy\"\n[[applications]]\nid = \"other\"\n\
         [[keys]]\nid = \"publisher\"\ntype = \"service\"\napplication = \"other\"\npermissions = [\"publish\"]\n\
         secret = \"{SECRET}\"\n"
    );
    for bot in 0..bots {
        let _ = write!(
            file,
            "[[keys]]\nid = \"bot{bot}\"\ntype = \"bot\"\napplication = \"busy\"\nsecret = \"{SECRET}\"\n"
        );
    }
    file + "[[events]]\nname = \"announce\"\nfrom = [\"service\"]\nto = [\"bot\"]\n"
}

fn measure(options: &ReportsOptions) -> Result<ReportsSummary> {
    let runtime = tokio::runtime::Runtime::new()?;
    let redis = runtime.block_on(RedisProcess::start_with(&[]));
    let settings = [("redis.url", redis.url())];
    let gateway = Gateway::start_with(&binary(options.gateway.as_deref())?, &settings, &file(options.bots))?;
    let mut http = Http::connect(gateway.address, &key("publisher"))?;
    let deadline = Instant::now() + READY_TIMEOUT;
    while !http.is_ready()? {
        ensure!(
            Instant::now() < deadline,
            "the node is not ready within {READY_TIMEOUT:?}"
        );
        runtime.block_on(async { sleep(Duration::from_millis(50)).await });
    }
    let mut phase = |name: &str| -> Result<ReportsPhase> {
        let (node, server) = (gateway.usage()?, Usage::of(redis.pid())?);
        let (mut publish, mut events) = (Latencies::default(), 0);
        let end = Instant::now() + Duration::from_secs(options.seconds.into());
        while Instant::now() < end {
            let sent = Instant::now();
            http.publish(r#"{"t":"announce","d":{}}"#)?;
            publish.add(sent.elapsed());
            events += 1;
            runtime.block_on(async { sleep(PUBLISH_INTERVAL).await });
        }
        let percent = |us: f64| us / 1e4 / f64::from(options.seconds.max(1));
        Ok(ReportsPhase {
            name: name.to_owned(),
            publish: publish.summary(),
            events,
            node_percent: percent(gateway.usage()?.cpu_us_since(&node)),
            redis_percent: percent(Usage::of(redis.pid())?.cpu_us_since(&server)),
        })
    };
    let alone = phase("alone")?;
    let again = phase("again")?;
    let arguments = [
        "--attack".to_owned(),
        gateway.address.to_string(),
        "--bots".to_owned(),
        options.bots.to_string(),
        "--ids".to_owned(),
        options.ids.to_string(),
        "--rate".to_owned(),
        options.rate.to_string(),
    ];
    let mut bots = Attacker::start("reports", &arguments)?;
    let beside = phase("reports")?;
    Ok(ReportsSummary {
        bots: options.bots,
        ids: options.ids,
        rate: options.rate,
        attacked: !bots.has_ended()?,
        phases: [alone, again, beside],
        log: gateway.log()?,
    })
}
