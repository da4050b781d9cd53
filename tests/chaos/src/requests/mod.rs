//! Requests from websites on one node to bots on two others, while bots lose their connections and nodes are killed.
//! Every request must have exactly one outcome, and no request may be given to two bots.
//!
//! `website` sends the requests; `bot` answers them, and has the stranger who answers for others; `ledger` records what
//! all of them see, and `report` judges it.

mod bot;
mod ledger;
mod report;
mod website;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use fastrand::Rng;
use gateway_harness::{KEYS, NodeProcess, RedisProcess, Setup, WAIT, eventually, ready};
use nix::sys::signal::Signal;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

pub use self::report::RequestReport;
use self::{
    bot::{RequestBot, stranger},
    ledger::Ledger,
    website::RequestWebsite,
};

/// How many guilds the bots have.
const GUILDS: u64 = 5;
/// How long a website waits for a reply, in milliseconds.
const TIMEOUT_MS: u64 = 2000;
/// How long every outcome may take after the last request.
const SETTLING: Duration = Duration::from_secs(10);

/// The events of the run.
const EVENTS: &str = r#"
[[events]]
name = "ask_guild"
from = ["website"]
to = ["bot"]
deliver = { guild = "/guildId" }
reply = true
reply_timeout_ms = 2000

[[events]]
name = "ask_any"
from = ["website"]
to = ["bot"]
deliver = "any"
reply = true
reply_timeout_ms = 2000
"#;

/// Sends requests through a cluster of three nodes while bots and nodes are killed, and checks the outcome of each.
#[derive(Debug, Clone, Parser)]
#[command(name = "requests")]
pub struct RequestOptions {
    /// Requests
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,
    /// Requests per second, by all websites together
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Websites, all on one node
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub websites: u32,
    /// Bots, on two other nodes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub bots: u32,
    /// Decides when what is killed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Numbers the requests of all websites.
#[derive(Debug)]
struct RequestCounter {
    next: AtomicU64,
    total: u64,
}

impl RequestCounter {
    /// Returns the number of the next request, or `None` if there are enough.
    fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.total).then_some(number)
    }

    fn is_done(&self) -> bool {
        self.next.load(Relaxed) >= self.total
    }
}

/// Carries out the run.
///
/// # Errors
/// Returns an error if the task of a website has panicked.
pub async fn run(options: &RequestOptions) -> Result<RequestReport> {
    let mut rng = Rng::with_seed(options.seed);
    let redis = RedisProcess::start().await;
    let of_websites = start(&redis, 0).await;
    let mut of_bots = [start(&redis, 1).await, start(&redis, 2).await];
    let (addresses, nodes) = watch::channel(of_bots.each_ref().map(|node| Some(node.address())));
    let (ledger, connected) = (Ledger::default(), Arc::new(AtomicU64::new(0)));
    let (receipts, leaked) = mpsc::unbounded_channel();
    let mut background = JoinSet::new();
    let mut cuts = Vec::new();
    for index in 0..options.bots as usize {
        let cut = Arc::new(Notify::new());
        cuts.push(Arc::clone(&cut));
        let bot = RequestBot {
            index,
            guild: 1 + index as u64 % GUILDS,
            nodes: nodes.clone(),
            ledger: ledger.clone(),
            cut,
            connected: Arc::clone(&connected),
            receipts: receipts.clone(),
        };
        background.spawn(bot.run(rng.fork()));
    }
    background.spawn(stranger(nodes, leaked, rng.fork()));
    eventually("all bots are connected", async || {
        (connected.load(Relaxed) == u64::from(options.bots)).then_some(())
    })
    .await;

    let counter = Arc::new(RequestCounter {
        next: AtomicU64::new(0),
        total: options.requests,
    });
    let (end, over) = watch::channel(false);
    let mut websites = JoinSet::new();
    for _ in 0..options.websites {
        let website = RequestWebsite {
            node: of_websites.address(),
            ledger: ledger.clone(),
            counter: Arc::clone(&counter),
            pause: Duration::from_secs(1) * options.websites / options.rate,
            over: over.clone(),
        };
        websites.spawn(website.run(rng.fork()));
    }
    let (mut bots_cut, mut nodes_killed) = (0, 0);
    let mut next_kill = Instant::now() + Duration::from_secs(1);
    while !counter.is_done() {
        sleep(Duration::from_millis(rng.u64(100..400))).await;
        cuts[rng.usize(..cuts.len())].notify_one();
        bots_cut += 1;
        if Instant::now() >= next_kill {
            let place = rng.usize(..2);
            addresses.send_modify(|nodes| nodes[place] = None);
            of_bots[place].signal(Signal::SIGKILL);
            of_bots[place].ended(WAIT).await;
            nodes_killed += 1;
            of_bots[place] = start(&redis, place + 1).await;
            let address = Some(of_bots[place].address());
            addresses.send_modify(|nodes| nodes[place] = address);
            next_kill = Instant::now() + Duration::from_millis(rng.u64(1000..3000));
        }
    }
    // Every outcome comes when the timer of the requester's node ends, at the latest. After that, a second one could come.
    let deadline = Instant::now() + Duration::from_millis(TIMEOUT_MS) + SETTLING;
    while ledger.open() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    sleep_until(Instant::now() + Duration::from_millis(TIMEOUT_MS)).await;
    end.send_replace(true);
    while let Some(website) = websites.join_next().await {
        website.context("a website")?;
    }
    background.shutdown().await;
    Ok(ledger.look(|state| RequestReport::new(options.seed, state, bots_cut, nodes_killed)))
}

async fn start(redis: &RedisProcess, index: usize) -> NodeProcess {
    let node = Setup::new()
        .file(&format!("{EVENTS}{KEYS}"))
        .redis(&redis.url())
        .set("node.name", format!("node-{index}"))
        .set("cluster.lease_ms", 1000)
        .set("limits.payloads_per_minute", 10_000_000)
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    ready(&node).await;
    node
}
