//! The round trip of a request and its reply, beside the same through NATS.
//!
//! Two nodes share a Redis, and two NATS servers form a cluster. Everything alternates in slices of one run, so that
//! other load on the machine affects all measurements.

mod gateway_pair;
mod nats_pair;
mod report;
mod responder;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use gateway_harness::{KEYS, RedisProcess, eventually, key};
use tokio::runtime::Builder;

pub use self::report::{ReplyLatency, ReplyReport};
use self::{
    gateway_pair::{EVENT, GatewayRequester},
    nats_pair::{NatsRequester, NatsServers},
    responder::{Requester, measure},
};
use super::{
    cores::on_a_thread,
    gateway::{Gateway, binary},
    http::Http,
    latencies::Latencies,
};

/// Measures the round trip of requests through two nodes, and through NATS.
#[derive(Debug, Clone, Parser)]
#[command(name = "replies")]
pub struct ReplyOptions {
    /// Rounds; each has a slice of every measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Requests in each slice
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,
    /// Requests of one requester that wait for their replies at any time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub in_flight: u64,
    /// Size of a request's data, in bytes
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// Leaves out NATS
    #[arg(long)]
    pub without_nats: bool,
    /// Path of the node's binary, if it is not in the directory of this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// One measured way.
struct Measured {
    name: &'static str,
    requester: Box<dyn Requester>,
    latencies: Latencies,
    sent: u64,
}

impl Measured {
    fn new(name: &'static str, requester: impl Requester + 'static) -> Self {
        Self {
            name,
            requester: Box::new(requester),
            latencies: Latencies::default(),
            sent: 0,
        }
    }
}

/// Runs the servers and the measurements.
///
/// # Errors
/// Fails if a server does not start, or a request gets no reply.
pub fn run(options: &ReplyOptions) -> Result<ReplyReport> {
    on_a_thread(|| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let redis = runtime.block_on(RedisProcess::start_with(&[]));
        let settings = [
            ("limits.payloads_per_minute", u32::MAX.to_string()),
            // The clients send no heartbeats.
            ("v1.heartbeat_interval_ms", "86400000".to_owned()),
            ("redis.url", redis.url()),
        ];
        let binary = binary(options.gateway.as_deref())?;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let node = Gateway::start_with(&binary, &settings, &format!("{KEYS}{EVENT}"))?;
            let mut http = Http::connect(node.address, &key("root"))?;
            runtime.block_on(eventually("a node is ready", async || {
                http.is_ready().ok().filter(|is_ready| *is_ready)
            }));
            nodes.push(node);
        }
        let [near, far] = [nodes[0].address, nodes[1].address];
        let payload = options.payload;
        let mut measured = vec![
            Measured::new("two nodes", GatewayRequester::connect(near, far, 1, payload)?),
            Measured::new("two nodes, again", GatewayRequester::connect(near, far, 2, payload)?),
            Measured::new("one node", GatewayRequester::connect(near, near, 3, payload)?),
        ];
        let nats = (!options.without_nats)
            .then(|| NatsServers::start(&runtime))
            .transpose()?;
        if let Some(nats) = &nats {
            let [one, other] = nats.addresses;
            let two = NatsRequester::connect(one, other, "two", payload)?;
            measured.push(Measured::new("NATS, two servers", two));
            measured.push(Measured::new(
                "NATS, one server",
                NatsRequester::connect(one, one, "one", payload)?,
            ));
        }
        for _ in 0..options.rounds {
            for it in &mut measured {
                let latencies = &mut it.latencies;
                measure(
                    &mut *it.requester,
                    it.sent,
                    options.requests,
                    options.in_flight,
                    latencies,
                )?;
                it.sent += options.requests;
            }
        }
        let rows = measured
            .into_iter()
            .map(|it| (it.name, it.sent, it.latencies.summary()));
        Ok(ReplyReport::new(options, rows))
    })
}
