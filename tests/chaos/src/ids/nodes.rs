//! The nodes, and what goes wrong with them.

use std::{net::SocketAddr, time::Duration};

use fastrand::Rng;
use gateway_harness::{Clock, Node, Setup, WAIT, full_setup};
use nix::sys::signal::Signal;
use tokio::{sync::watch, time::sleep};

use super::{
    trouble::{Trouble, step, up_to},
    world::Book,
};

/// Where a life of a node listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) life: u16,
}

/// The nodes of a run.
#[derive(Debug)]
pub(super) struct Nodes {
    seats: Vec<Seat>,
    redis: String,
    lease: Duration,
    doors: watch::Sender<Vec<Option<Door>>>,
    book: Book,
}

/// The place of a node, which is started more than once.
#[derive(Debug)]
struct Seat {
    node: Option<Node>,
    lives: u16,
    clock: Clock,
    /// How far the clock is before the real time, in milliseconds.
    ahead_ms: i64,
    /// What its past lives logged.
    log: String,
}

impl Nodes {
    /// Starts so many nodes with this Redis.
    pub(super) async fn start(count: usize, redis: &str, lease: Duration, book: Book) -> Self {
        let mut nodes = Self {
            seats: Vec::new(),
            redis: redis.to_owned(),
            lease,
            doors: watch::Sender::new(vec![None; count]),
            book,
        };
        for index in 0..count {
            nodes.seats.push(Seat {
                node: None,
                lives: 0,
                clock: Clock::start().await,
                ahead_ms: 0,
                log: String::new(),
            });
            nodes.open(index).await;
        }
        nodes
    }

    /// Where the nodes listen, as it changes; `None` while one is known to be away.
    pub(super) fn doors(&self) -> watch::Receiver<Vec<Option<Door>>> {
        self.doors.subscribe()
    }

    async fn open(&mut self, index: usize) {
        let setup = self.setup(index);
        let seat = &mut self.seats[index];
        let node = setup.clock(&seat.clock).start().await;
        seat.lives += 1;
        let door = Door {
            address: node.address(),
            life: seat.lives,
        };
        seat.node = Some(node);
        self.doors.send_modify(|doors| doors[index] = Some(door));
    }

    fn setup(&self, index: usize) -> Setup {
        full_setup()
            .redis(&self.redis)
            .set("node.name", format!("node-{index}"))
            .set("cluster.lease_ms", self.lease.as_millis())
            .set("limits.connections_per_address", 10_000)
            .set("limits.connection_attempts_per_minute", 100_000_000)
            // Each visit changes the counts, and nobody here listens to them.
            .set("v1.guild_count_interval_ms", 1000)
    }

    /// Goes wrong once, from the beginning to the end.
    pub(super) async fn strike(&mut self, trouble: Trouble, rng: &mut Rng) {
        let index = rng.usize(..self.seats.len());
        match trouble {
            Trouble::NodePaused => {
                let time = self.lease.mul_f64(1.1 + rng.f64());
                self.book.note(format_args!("node {index} is stopped, for {time:?}"));
                self.signal(index, Signal::SIGSTOP);
                sleep(time).await;
                self.signal(index, Signal::SIGCONT);
                self.book.note(format_args!("node {index} goes on"));
            }
            Trouble::NodeKilled => {
                let time = up_to(self.lease, rng);
                self.book.note(format_args!("node {index} is killed, for {time:?}"));
                self.kill(index).await;
                sleep(time).await;
                // Another machine, whose clock is another one.
                let ahead_ms = if rng.bool() { step(rng) } else { -step(rng) };
                self.set_clock(index, ahead_ms);
                self.open(index).await;
                self.book.note(format_args!("node {index} is there again"));
            }
            Trouble::NodeClockForwards => self.set_clock(index, self.seats[index].ahead_ms + step(rng)),
            Trouble::NodeClockBack => self.set_clock(index, self.seats[index].ahead_ms - step(rng)),
            _ => panic!("{trouble} is none of nodes"),
        }
        self.book.done(trouble);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let node = self.seats[index].node.as_ref();
        node.expect("the node runs").signal(signal);
    }

    async fn kill(&mut self, index: usize) {
        self.doors.send_modify(|doors| doors[index] = None);
        let seat = &mut self.seats[index];
        let mut node = seat.node.take().expect("the node runs");
        node.signal(Signal::SIGKILL);
        node.ended(WAIT).await;
        seat.log += &node.log();
    }

    fn set_clock(&mut self, index: usize, ahead_ms: i64) {
        self.book
            .note(format_args!("the clock of node {index} is set to {ahead_ms:+} ms"));
        let seat = &mut self.seats[index];
        seat.ahead_ms = ahead_ms;
        seat.clock.set(ahead_ms);
    }

    /// What every node has logged in all its lives.
    pub(super) fn logs(&self) -> Vec<String> {
        let log = |seat: &Seat| format!("{}{}", seat.log, seat.node.as_ref().map_or_else(String::new, Node::log));
        self.seats.iter().map(log).collect()
    }

    /// Nodes that ended by themselves, and those that panicked.
    pub(super) fn faults(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, log) in self.logs().iter().enumerate() {
            if self.seats[index].node.as_mut().is_some_and(|node| !node.lives()) {
                faults.push(format!("node {index} ended by itself"));
            }
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                faults.push(format!("node {index}: {line}"));
            }
        }
        faults
    }
}
