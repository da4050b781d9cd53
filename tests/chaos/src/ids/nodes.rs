//! The nodes, and what goes wrong with them.

use std::{net::SocketAddr, time::Duration};

use fastrand::Rng;
use gateway_harness::{Clock, NodeProcess, Setup, WAIT, full_setup};
use nix::sys::signal::Signal;
use tokio::{sync::watch, time::sleep};

use super::{
    plan::SharedIdLedger,
    trouble::{Trouble, step, up_to},
};

/// Where a node listens during one of its runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdEndpoint {
    pub(super) address: SocketAddr,
    pub(super) run: u16,
}

/// The nodes of a run.
#[derive(Debug)]
pub(super) struct IdNodes {
    slots: Vec<IdNodeSlot>,
    redis: String,
    lease: Duration,
    endpoints: watch::Sender<Vec<Option<IdEndpoint>>>,
    ledger: SharedIdLedger,
}

/// One of the nodes; it is started more than once.
#[derive(Debug)]
struct IdNodeSlot {
    node: Option<NodeProcess>,
    runs: u16,
    clock: Clock,
    /// How far its clock is ahead of the real time, in milliseconds.
    ahead_ms: i64,
    /// The log of its earlier runs.
    log: String,
}

impl IdNodes {
    /// Starts `count` nodes that share this Redis.
    pub(super) async fn start(count: usize, redis: &str, lease: Duration, ledger: SharedIdLedger) -> Self {
        let mut nodes = Self {
            slots: Vec::new(),
            redis: redis.to_owned(),
            lease,
            endpoints: watch::Sender::new(vec![None; count]),
            ledger,
        };
        for index in 0..count {
            nodes.slots.push(IdNodeSlot {
                node: None,
                runs: 0,
                clock: Clock::start().await,
                ahead_ms: 0,
                log: String::new(),
            });
            nodes.start_node(index).await;
        }
        nodes
    }

    /// Watches where the nodes listen; `None` for a node that is known to be down.
    pub(super) fn endpoints(&self) -> watch::Receiver<Vec<Option<IdEndpoint>>> {
        self.endpoints.subscribe()
    }

    async fn start_node(&mut self, index: usize) {
        let setup = self.setup(index);
        let slot = &mut self.slots[index];
        let node = setup.clock(&slot.clock).start().await;
        slot.runs += 1;
        let endpoint = IdEndpoint {
            address: node.address(),
            run: slot.runs,
        };
        slot.node = Some(node);
        self.endpoints
            .send_modify(|endpoints| endpoints[index] = Some(endpoint));
    }

    fn setup(&self, index: usize) -> Setup {
        full_setup()
            .redis(&self.redis)
            .set("node.name", format!("node-{index}"))
            .set("cluster.lease_ms", self.lease.as_millis())
            .set("limits.connections_per_address", 10_000)
            .set("limits.connection_attempts_per_minute", 100_000_000)
            // Every connection changes the counts, and no client here uses them.
            .set("v1.guild_count_interval_ms", 1000)
    }

    /// Injects a trouble and waits until it is over.
    pub(super) async fn inject(&mut self, trouble: Trouble, rng: &mut Rng) {
        let index = rng.usize(..self.slots.len());
        match trouble {
            Trouble::NodePaused => {
                let time = self.lease.mul_f64(1.1 + rng.f64());
                self.ledger.note(format_args!("node {index} is stopped, for {time:?}"));
                self.signal(index, Signal::SIGSTOP);
                sleep(time).await;
                self.signal(index, Signal::SIGCONT);
                self.ledger.note(format_args!("node {index} goes on"));
            }
            Trouble::NodeKilled => {
                let time = up_to(self.lease, rng);
                self.ledger.note(format_args!("node {index} is killed, for {time:?}"));
                self.kill_node(index).await;
                sleep(time).await;
                // As if the node came back on another machine, with another clock.
                let ahead_ms = if rng.bool() { step(rng) } else { -step(rng) };
                self.set_clock(index, ahead_ms);
                self.start_node(index).await;
                self.ledger.note(format_args!("node {index} is there again"));
            }
            Trouble::NodeClockForwards => self.set_clock(index, self.slots[index].ahead_ms + step(rng)),
            Trouble::NodeClockBack => self.set_clock(index, self.slots[index].ahead_ms - step(rng)),
            _ => panic!("{trouble} is not a trouble of nodes"),
        }
        self.ledger.add_trouble(trouble);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let node = self.slots[index].node.as_ref();
        node.expect("the node is running").signal(signal);
    }

    async fn kill_node(&mut self, index: usize) {
        self.endpoints.send_modify(|endpoints| endpoints[index] = None);
        let slot = &mut self.slots[index];
        let mut node = slot.node.take().expect("the node is running");
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
        slot.log += &node.log();
    }

    fn set_clock(&mut self, index: usize, ahead_ms: i64) {
        self.ledger
            .note(format_args!("the clock of node {index} is set to {ahead_ms:+} ms"));
        let slot = &mut self.slots[index];
        slot.ahead_ms = ahead_ms;
        slot.clock.set(ahead_ms);
    }

    /// Returns the log of each node, over all its runs.
    pub(super) fn logs(&self) -> Vec<String> {
        let log = |slot: &IdNodeSlot| {
            format!(
                "{}{}",
                slot.log,
                slot.node.as_ref().map_or_else(String::new, NodeProcess::log)
            )
        };
        self.slots.iter().map(log).collect()
    }

    /// Returns the nodes that exited on their own and those that panicked.
    pub(super) fn faults(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, log) in self.logs().iter().enumerate() {
            if self.slots[index].node.as_mut().is_some_and(|node| !node.lives()) {
                faults.push(format!("node {index} ended by itself"));
            }
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                faults.push(format!("node {index}: {line}"));
            }
        }
        faults
    }
}
