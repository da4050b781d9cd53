//! Jobs for five workers, one of which has a line that goes dead without a FIN, while nodes are killed, Redis is
//! restarted, and a flood of other events trims the log again and again. Every job must be acknowledged or be listed as
//! undeliverable, and no worker may hold more jobs than it asked for.
//!
//! `publisher` publishes the jobs and the flood; `worker` takes them; `ledger` records what they see, and `report` judges
//! it.

mod ledger;
mod publisher;
mod report;
mod worker;

use std::{
    net::SocketAddr,
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
use gateway_harness::{KEYS, NodeProcess, Proxy, RedisProcess, Setup, WAIT, ask, key, ready};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, sleep},
};

pub use self::report::JobReport;
use self::{
    ledger::Ledger,
    publisher::{JobCounter, JobPublisher, flood},
    worker::JobWorker,
};

/// How many workers there are. The last one has the line that goes dead.
const WORKERS: usize = 5;
/// How many publishers there are.
const PUBLISHERS: u32 = 8;
/// How long a worker may take for a job, in milliseconds.
const ACK_TIMEOUT_MS: u64 = 5000;
/// How often a job is delivered, at most.
const ATTEMPTS: u64 = 5;
/// How many entries the log keeps: far less than the flood writes in a second.
const LOG_ENTRIES: u64 = 200;
/// How long the line is dead: longer than a worker may take, so that its jobs go to others.
const DEAD: Duration = Duration::from_secs(8);
/// How long the last jobs may take.
const SETTLING: Duration = Duration::from_secs(90);

/// One job in this many is never acknowledged, and must end as undeliverable.
const POISON: u64 = 500;

/// Where the nodes listen; `None` while one is down.
type NodeAddresses = watch::Receiver<[Option<SocketAddr>; 3]>;

/// Publishes jobs to a cluster of three nodes while workers, nodes and Redis fail, and checks what became of each.
#[derive(Debug, Clone, Parser)]
#[command(name = "jobs")]
pub struct JobOptions {
    /// Jobs
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    pub jobs: u64,
    /// Jobs per second, by all publishers together
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Jobs that a worker takes at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub at_once: u16,
    /// Other events per second, which trim the log
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub flood: u32,
    /// Decides what fails when
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What failed in a run.
#[derive(Debug, Clone, Copy, Default)]
struct FaultCounts {
    nodes_killed: u64,
    redis_restarts: u64,
    dead_lines: u64,
}

/// Carries out the run.
///
/// # Errors
/// Returns an error if a publisher has panicked, or if the jobs cannot be listed at the end.
pub async fn run(options: &JobOptions) -> Result<JobReport> {
    let mut rng = Rng::with_seed(options.seed);
    let mut redis = RedisProcess::start().await;
    let mut nodes = [start(&redis, 0).await, start(&redis, 1).await, start(&redis, 2).await];
    let (addresses, seen) = watch::channel(nodes.each_ref().map(|node| Some(node.address())));
    let proxy = Proxy::start(nodes[WORKERS % 3].address()).await;
    let ledger = Ledger::default();
    let mut background = JoinSet::new();
    for index in 0..WORKERS {
        let worker = JobWorker {
            index,
            nodes: seen.clone(),
            line: (index == WORKERS - 1).then(|| proxy.address()),
            at_once: options.at_once,
            ledger: ledger.clone(),
        };
        background.spawn(worker.run(rng.fork()));
    }
    let flooded = Arc::new(AtomicU64::new(0));
    background.spawn(flood(seen.clone(), options.flood, Arc::clone(&flooded)));
    let counter = Arc::new(JobCounter::new(options.jobs));
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let publisher = JobPublisher {
            nodes: seen.clone(),
            ledger: ledger.clone(),
            counter: Arc::clone(&counter),
            pause: Duration::from_secs(1) * PUBLISHERS / options.rate,
        };
        publishers.spawn(publisher.run(rng.fork()));
    }

    let mut counts = FaultCounts::default();
    let mut line_changes = Instant::now() + DEAD;
    let mut is_dead = false;
    while !counter.is_done() {
        sleep(Duration::from_millis(rng.u64(500..1500))).await;
        if Instant::now() >= line_changes {
            is_dead = !is_dead;
            if is_dead {
                proxy.black_hole();
                counts.dead_lines += 1;
            } else {
                proxy.heal();
            }
            line_changes = Instant::now() + DEAD;
        }
        match rng.u64(..6) {
            0 => {
                redis.kill().await;
                sleep(Duration::from_millis(rng.u64(..1500))).await;
                redis.restart().await;
                counts.redis_restarts += 1;
            }
            1 | 2 => {
                let place = rng.usize(..nodes.len());
                addresses.send_modify(|addresses| addresses[place] = None);
                nodes[place].signal(Signal::SIGKILL);
                nodes[place].ended(WAIT).await;
                nodes[place] = start(&redis, place).await;
                let address = nodes[place].address();
                addresses.send_modify(|addresses| addresses[place] = Some(address));
                counts.nodes_killed += 1;
            }
            _ => {}
        }
        let at_the_line = *addresses.borrow();
        proxy.retarget(at_the_line[WORKERS % 3].expect("all nodes are up"));
    }
    proxy.heal();
    while let Some(publisher) = publishers.join_next().await {
        publisher.context("a publisher")?;
    }
    let mut checks = interval(Duration::from_millis(200));
    let deadline = Instant::now() + SETTLING;
    let node = nodes[0].address();
    let open = loop {
        checks.tick().await;
        // Redis may just have come back.
        let (waiting, delivered) = (listed(node, "waiting").await, listed(node, "delivered").await);
        let open = waiting
            .zip(delivered)
            .map(|(waiting, delivered)| waiting.len() + delivered.len());
        if open == Some(0) || Instant::now() > deadline {
            break open.context("the jobs cannot be listed")?;
        }
    };
    background.shutdown().await;
    let undeliverable = listed(node, "undeliverable").await;
    let undeliverable = undeliverable.context("the undeliverable jobs cannot be listed")?;
    Ok(ledger.look(|state| {
        JobReport::new(
            options.seed,
            state,
            &undeliverable,
            open as u64,
            flooded.load(Relaxed),
            counts,
        )
    }))
}

/// Returns whether no worker acknowledges the job with this number.
const fn is_poison(number: u64) -> bool {
    number % POISON == POISON / 2
}

/// Returns the numbers of up to a thousand jobs in a state, or `None` if Redis is away.
async fn listed(node: SocketAddr, state: &str) -> Option<Vec<u64>> {
    let target = format!("/api/v1/jobs?state={state}&limit=1000");
    let bearer = format!("Bearer {}", key("root"));
    let answer = ask(node, "GET", &target, &[("authorization", &bearer)], "").await;
    let answer = answer.expect("the node stays up");
    if answer.status == 503 {
        return None;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    let jobs = answer.json()["jobs"].as_array().cloned().expect("a list of jobs");
    let number = |job: &Value| job["d"]["number"].as_u64().expect("the number of a job");
    Some(jobs.iter().map(number).collect())
}

async fn start(redis: &RedisProcess, index: usize) -> NodeProcess {
    let events = format!(
        r#"
[[events]]
name = "work"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = {ACK_TIMEOUT_MS}
attempts = {ATTEMPTS}

[[events]]
name = "flood"
from = ["service"]
to = ["website"]
"#
    );
    let node = Setup::new()
        .file(&format!("{events}{KEYS}"))
        .redis(&redis.url())
        .set("node.name", format!("node-{index}"))
        .set("cluster.lease_ms", 1000)
        .set("cluster.log_entries", LOG_ENTRIES)
        .set("limits.payloads_per_minute", 10_000_000)
        .set("limits.connection_attempts_per_minute", 1_000_000)
        .start()
        .await;
    ready(&node).await;
    node
}
