//! One run: the servers, who sends, who receives, and the measurements of a round.

use std::{
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use gateway_harness::key;

use super::{
    super::latencies::Latencies,
    NODES, Options,
    board::{Board, End},
    ledger::Faults,
    receiver::Receiver,
    report::{Flow, Rounds},
    sender::Sender,
    site::Site,
    yardstick::Yardstick,
};

/// Senders by HTTP on each node: while one waits for its answer, the other has the node work.
const SERVICES: usize = 2;
/// Slices of each measurement of latency.
const SLICES: u32 = 5;

/// Who sends.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Through their sockets.
    Websites,
    /// Through HTTP.
    Services,
}

/// A run.
pub(super) struct Measure {
    site: Site,
    yardstick: Yardstick,
    receivers: Vec<Receiver>,
    /// Websites, one a node, and then services.
    websites: Vec<Sender>,
    services: Vec<Sender>,
    /// Who sends and who receives on the node that shares nothing.
    alone: (Sender, Receiver),
    time: Duration,
    batch: usize,
    window: u64,
}

impl Measure {
    /// Starts everything.
    pub(super) fn start(binary: &Path, options: &Options) -> Result<Self> {
        let site = Site::start(binary)?;
        let (payload, batch) = (options.payload as usize, options.batch as usize);
        let yardstick = Yardstick::new(site.redis_port(), payload)?;
        let [bot, website, service] = ["bot", "website", "service"].map(key);
        let addresses: Vec<_> = site.nodes.iter().map(|node| node.address).collect();
        let senders = NODES * (1 + SERVICES);
        let receivers = addresses.iter().map(|address| Receiver::open(*address, &bot, senders));
        let receivers = receivers.collect::<Result<_>>()?;
        let websites = addresses.iter().enumerate();
        let websites = websites.map(|(number, address)| Sender::socket(number, *address, &website, payload));
        let services = (NODES..senders).map(|number| {
            let address = addresses[number % NODES];
            Sender::http(number, address, &service, payload, batch)
        });
        let receiver = Receiver::open(site.alone.address, &bot, 1)?;
        Ok(Self {
            yardstick,
            receivers,
            websites: websites.collect::<Result<_>>()?,
            services: services.collect(),
            alone: (Sender::socket(0, site.alone.address, &website, payload)?, receiver),
            time: options.time(),
            batch,
            window: options.window.into(),
            site,
        })
    }

    /// Measures everything once.
    pub(super) fn round(&mut self, rounds: &mut Rounds) -> Result<()> {
        self.yardstick.tidy()?;
        rounds.calls.push(self.calls(1)?);
        rounds.sockets.push(self.flow(Kind::Websites)?);
        rounds.calls_again.push(self.calls(1)?);
        rounds.http.push(self.flow(Kind::Services)?);
        rounds.batched_calls.push(self.calls(self.batch)?);
        self.singles(rounds)
    }

    /// One event or message at a time, in slices of each, so that a moment in which the machine does something else
    /// meets all of them.
    fn singles(&mut self, rounds: &mut Rounds) -> Result<()> {
        let slice = self.time / 4 / SLICES;
        let [mut bare, mut alone, mut same, mut across] = <[Latencies; 4]>::default();
        for _ in 0..SLICES {
            self.yardstick.messages(slice, &mut bare)?;
            let (sender, receiver) = &mut self.alone;
            sender.trips(receiver, slice, &mut alone)?;
            self.trips(0, slice, &mut same)?;
            self.trips(1, slice, &mut across)?;
        }
        rounds.bare.push(bare.summary());
        rounds.alone.push(alone.summary());
        rounds.same.push(same.summary());
        rounds.across.push(across.summary());
        Ok(())
    }

    /// The bare loop.
    fn calls(&mut self, batch: usize) -> Result<Flow> {
        let before = self.site.usages()?;
        let (events, time) = self.yardstick.events(self.time, batch)?;
        Ok(Flow::new(events, time, &before, &self.site.usages()?))
    }

    /// Senders of one kind on all nodes, as fast as they may, until every receiver has had everything.
    fn flow(&mut self, kind: Kind) -> Result<Flow> {
        let sent_before: u64 = self.sent().iter().sum();
        let before = self.site.usages()?;
        let heights = self.receivers.iter().map(Receiver::heights).collect();
        let board = &Board::new(heights, self.window);
        let began = Instant::now();
        let until = began + self.time;
        let Self {
            receivers,
            websites,
            services,
            ..
        } = self;
        let last = thread::scope(|scope| {
            let following: Vec<_> = receivers
                .iter_mut()
                .enumerate()
                .map(|(number, receiver)| scope.spawn(move || receiver.follow(number, board)))
                .collect();
            let has_sent = send(senders_of(kind, websites, services), until, board);
            board.set_end(match has_sent {
                Ok(()) => End::After(sent(websites, services)),
                Err(_) => End::Failed,
            });
            let last = all(following)?;
            has_sent?;
            last.into_iter().max().ok_or_else(|| anyhow!("nobody receives"))
        })?;
        let events = self.sent().iter().sum::<u64>() - sent_before;
        let time = last.saturating_duration_since(began);
        Ok(Flow::new(events, time, &before, &self.site.usages()?))
    }

    /// One event at a time from the first node to this one. The others have had it too before it ends.
    fn trips(&mut self, to: usize, time: Duration, latencies: &mut Latencies) -> Result<()> {
        let sender = &mut self.websites[0];
        sender.trips(&mut self.receivers[to], time, latencies)?;
        for receiver in &mut self.receivers {
            receiver.wait_for(0, sender.source.sent)?;
        }
        Ok(())
    }

    /// Events that each sender has sent.
    fn sent(&self) -> Vec<u64> {
        sent(&self.websites, &self.services)
    }

    /// Events that the receivers of the cluster should have had, and what was wrong with those that any receiver had.
    pub(super) fn verdict(&self) -> (u64, Faults) {
        let sent = self.sent();
        let (sender, receiver) = &self.alone;
        let faults = self.receivers.iter().map(|receiver| receiver.faults(&sent));
        let faults = faults.fold(receiver.faults(&[sender.source.sent]), Faults::and);
        (sent.iter().sum(), faults)
    }

    /// What the nodes have logged: warnings and worse.
    pub(super) fn log(&self) -> Result<String> {
        self.site.log()
    }
}

fn senders_of<'a>(kind: Kind, websites: &'a mut [Sender], services: &'a mut [Sender]) -> &'a mut [Sender] {
    match kind {
        Kind::Websites => websites,
        Kind::Services => services,
    }
}

/// Has all of them send until `until`.
fn send(senders: &mut [Sender], until: Instant, board: &Board) -> Result<()> {
    thread::scope(|scope| {
        let sending = senders.iter_mut();
        let sending = sending.map(|sender| scope.spawn(move || sender.run(until, board)));
        all(sending.collect()).map(|_| ())
    })
}

fn sent(websites: &[Sender], services: &[Sender]) -> Vec<u64> {
    websites
        .iter()
        .chain(services)
        .map(|sender| sender.source.sent)
        .collect()
}

/// What all threads have come to, or the first error.
fn all<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    let ended = ended.into_iter();
    ended
        .map(|end| end.map_err(|_| anyhow!("a thread has panicked"))?)
        .collect()
}
