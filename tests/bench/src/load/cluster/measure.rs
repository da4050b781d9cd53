//! A run: the servers, the senders, the receivers, and the measurements of each round.

use std::{
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use gateway_harness::key;

use super::{
    super::latencies::Latencies,
    ClusterLoadOptions, NODES,
    bystander::Bystander,
    delivery_checker::DeliveryErrors,
    receiver::BotReceiver,
    redis_baseline::RedisBaseline,
    report::{ClusterRounds, Throughput},
    send_window::{SendProgress, SendWindow},
    sender::ClusterSender,
    servers::ClusterServers,
};

/// HTTP senders on each node. Two, so that the node has work while one of them waits for its response.
const SERVICES: usize = 2;
/// Slices of each latency measurement.
const SLICES: u32 = 5;
/// How many events a lone sender may be ahead.
const ONE_WINDOW: u64 = 64;

/// Who publishes.
#[derive(Debug, Clone, Copy)]
enum SenderKind {
    /// Website clients, through their sockets.
    Websites,
    /// One of them.
    OneWebsite,
    /// Services, through HTTP.
    Services,
}

/// A run in progress.
pub(super) struct Measure {
    servers: ClusterServers,
    baseline: RedisBaseline,
    receivers: Vec<BotReceiver>,
    /// One website client on each node. In the numbering of senders, the services come after them.
    websites: Vec<ClusterSender>,
    services: Vec<ClusterSender>,
    /// The sender and the receiver on the node without Redis.
    alone: (ClusterSender, BotReceiver),
    time: Duration,
    batch: usize,
    window: u64,
    binary: PathBuf,
}

impl Measure {
    /// Starts all servers and connects all clients.
    pub(super) fn start(binary: &Path, options: &ClusterLoadOptions) -> Result<Self> {
        let servers = ClusterServers::start(binary)?;
        let (payload, batch) = (options.payload as usize, options.batch as usize);
        let baseline = RedisBaseline::new(servers.redis_port(), payload)?;
        let [bot, website, service] = ["bot", "website", "service"].map(key);
        let addresses: Vec<_> = servers.nodes.iter().map(|node| node.address).collect();
        let senders = NODES * (1 + SERVICES);
        let receivers = addresses
            .iter()
            .map(|address| BotReceiver::open(*address, &bot, senders));
        let receivers = receivers.collect::<Result<_>>()?;
        let websites = addresses.iter().enumerate();
        let websites = websites.map(|(number, address)| ClusterSender::socket(number, *address, &website, payload));
        let services = (NODES..senders).map(|number| {
            let address = addresses[number % NODES];
            ClusterSender::http(number, address, &service, payload, batch)
        });
        let receiver = BotReceiver::open(servers.alone.address, &bot, 1)?;
        Ok(Self {
            baseline,
            receivers,
            websites: websites.collect::<Result<_>>()?,
            services: services.collect(),
            alone: (
                ClusterSender::socket(0, servers.alone.address, &website, payload)?,
                receiver,
            ),
            time: options.time(),
            batch,
            window: options.window.into(),
            binary: binary.to_owned(),
            servers,
        })
    }

    /// Runs every measurement once.
    pub(super) fn round(&mut self, rounds: &mut ClusterRounds) -> Result<()> {
        self.baseline.rewrite_aof()?;
        rounds.calls.push(self.calls(1)?);
        rounds.sockets.push(self.throughput(SenderKind::Websites, self.window)?);
        rounds.calls_again.push(self.calls(1)?);
        rounds
            .one_socket
            .push(self.throughput(SenderKind::OneWebsite, ONE_WINDOW)?);
        rounds.http.push(self.throughput(SenderKind::Services, self.window)?);
        rounds.batched_calls.push(self.calls(self.batch)?);
        rounds.bystander.push(self.bystander()?);
        self.singles(rounds)
    }

    /// Measures what an event costs a node that has no receiver for it.
    fn bystander(&mut self) -> Result<f64> {
        let bystander = Bystander::start(&self.binary, &self.servers)?;
        let source = &mut self.services[0].source;
        let used = bystander.measure(self.servers.nodes[0].address, source, self.time)?;
        for receiver in &mut self.receivers {
            receiver.wait_for(NODES, source.sent)?;
        }
        Ok(used)
    }

    /// Measures the latency of single events and messages. The four measurements alternate in slices, so that other
    /// load on the machine affects all of them.
    fn singles(&mut self, rounds: &mut ClusterRounds) -> Result<()> {
        let slice = self.time / 4 / SLICES;
        let [mut bare, mut alone, mut same, mut across] = <[Latencies; 4]>::default();
        for _ in 0..SLICES {
            self.baseline.messages(slice, &mut bare)?;
            let (sender, receiver) = &mut self.alone;
            sender.measure_latency(receiver, slice, &mut alone)?;
            self.measure_latency(0, slice, &mut same)?;
            self.measure_latency(1, slice, &mut across)?;
        }
        rounds.bare.push(bare.summary());
        rounds.alone.push(alone.summary());
        rounds.same.push(same.summary());
        rounds.across.push(across.summary());
        Ok(())
    }

    /// Measures the throughput of the bare loop, with `batch` events per call.
    fn calls(&mut self, batch: usize) -> Result<Throughput> {
        let before = self.servers.usages()?;
        let (events, time) = self.baseline.events(self.time, batch)?;
        Ok(Throughput::new(events, time, &before, &self.servers.usages()?))
    }

    /// Measures the throughput of the cluster: the senders of one kind publish on all nodes as fast as the send
    /// window allows, until every receiver has received everything.
    fn throughput(&mut self, kind: SenderKind, window: u64) -> Result<Throughput> {
        let sent_before: u64 = self.sent().iter().sum();
        let before = self.servers.usages()?;
        let heights = self.receivers.iter().map(BotReceiver::heights).collect();
        let window = &SendWindow::new(heights, window);
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
                .map(|(number, receiver)| scope.spawn(move || receiver.follow(number, window)))
                .collect();
            let has_sent = send(senders_of(kind, websites, services), until, window);
            window.set_progress(match has_sent {
                Ok(()) => SendProgress::Finished(sent(websites, services)),
                Err(_) => SendProgress::Failed,
            });
            let last = all(following)?;
            has_sent?;
            last.into_iter().max().ok_or_else(|| anyhow!("there are no receivers"))
        })?;
        let events = self.sent().iter().sum::<u64>() - sent_before;
        let time = last.saturating_duration_since(began);
        Ok(Throughput::new(events, time, &before, &self.servers.usages()?))
    }

    /// Measures the latency from the first node to node `to`, one event at a time. The other nodes receive the events
    /// too before this returns.
    fn measure_latency(&mut self, to: usize, time: Duration, latencies: &mut Latencies) -> Result<()> {
        let sender = &mut self.websites[0];
        sender.measure_latency(&mut self.receivers[to], time, latencies)?;
        for receiver in &mut self.receivers {
            receiver.wait_for(0, sender.source.sent)?;
        }
        Ok(())
    }

    /// Returns how many events each sender has sent.
    fn sent(&self) -> Vec<u64> {
        sent(&self.websites, &self.services)
    }

    /// Returns how many events each receiver of the cluster should have received, and the delivery errors of all
    /// receivers.
    pub(super) fn deliveries(&self) -> (u64, DeliveryErrors) {
        let sent = self.sent();
        let (sender, receiver) = &self.alone;
        let errors = self.receivers.iter().map(|receiver| receiver.errors(&sent));
        let errors = errors.fold(receiver.errors(&[sender.source.sent]), DeliveryErrors::and);
        (sent.iter().sum(), errors)
    }

    /// Returns what the nodes have logged, at level `warn` and above.
    pub(super) fn log(&self) -> Result<String> {
        self.servers.log()
    }
}

fn senders_of<'a>(
    kind: SenderKind,
    websites: &'a mut [ClusterSender],
    services: &'a mut [ClusterSender],
) -> &'a mut [ClusterSender] {
    match kind {
        SenderKind::Websites => websites,
        SenderKind::OneWebsite => &mut websites[..1],
        SenderKind::Services => services,
    }
}

/// Lets all senders publish until `until`.
fn send(senders: &mut [ClusterSender], until: Instant, window: &SendWindow) -> Result<()> {
    thread::scope(|scope| {
        let sending = senders.iter_mut();
        let sending = sending.map(|sender| scope.spawn(move || sender.run(until, window)));
        all(sending.collect()).map(|_| ())
    })
}

fn sent(websites: &[ClusterSender], services: &[ClusterSender]) -> Vec<u64> {
    websites
        .iter()
        .chain(services)
        .map(|sender| sender.source.sent)
        .collect()
}

/// Joins all threads and returns their results, or the first error.
fn all<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    let ended = ended.into_iter();
    ended
        .map(|end| end.map_err(|_| anyhow!("a thread has panicked"))?)
        .collect()
}
