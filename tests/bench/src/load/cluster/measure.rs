//! A run: the servers, the senders, the receivers, and the measurements of each round.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use gateway_harness::key;

use super::{
    super::{contest::ContestTarget, latencies::Latencies},
    ClusterLoadOptions, ClusterPeer, NODES,
    bystander::Bystander,
    delivery_checker::DeliveryErrors,
    paced::{Pace, PacedClients},
    peer_servers::PeerServers,
    receiver::EventReceiver,
    redis_baseline::RedisBaseline,
    rounds::{ClusterRounds, Throughput},
    sender::ClusterSender,
    servers::ClusterServers,
    window_run::WindowRun,
};

/// HTTP senders on each node. Two, so that the node has work while one of them waits for its response.
const SERVICES: usize = 2;
/// Slices of each latency measurement.
const SLICES: u32 = 5;
/// How many events a lone sender may be ahead.
pub(super) const ONE_WINDOW: u64 = 64;

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
    /// Third-party servers that share the Redis. Declared before `servers`, so that they are dropped before it.
    peers: Vec<PeerServers>,
    servers: ClusterServers,
    baseline: RedisBaseline,
    receivers: Vec<EventReceiver>,
    /// One website client on each node. In the numbering of senders, the services come after them.
    websites: Vec<ClusterSender>,
    services: Vec<ClusterSender>,
    /// The sender and the receiver on the node without Redis.
    alone: (ClusterSender, EventReceiver),
    pace: Pace,
    time: Duration,
    batch: usize,
    window: u64,
    binary: PathBuf,
}

impl Measure {
    /// Starts all servers and connects all clients.
    pub(super) fn start(binary: &Path, options: &ClusterLoadOptions, peers: &[ClusterPeer]) -> Result<Self> {
        let servers = ClusterServers::start(binary)?;
        let (payload, batch) = (options.payload as usize, options.batch as usize);
        let baseline = RedisBaseline::new(servers.redis_port(), payload)?;
        let [bot, website, service] = ["bot", "website", "service"].map(key);
        let addresses: Vec<_> = servers.nodes.iter().map(|node| node.address).collect();
        let senders = NODES * (1 + SERVICES);
        let receivers = addresses
            .iter()
            .map(|address| EventReceiver::open(*address, &bot, senders));
        let receivers = receivers.collect::<Result<_>>()?;
        let websites = addresses.iter().enumerate();
        let websites = websites.map(|(number, address)| ClusterSender::socket(number, *address, &website, payload));
        let services = (NODES..senders).map(|number| {
            let address = addresses[number % NODES];
            ClusterSender::http(number, address, &service, payload, batch)
        });
        let receiver = EventReceiver::open(servers.alone.address, &bot, 1)?;
        let (count, redis_port) = (options.peer_servers, servers.redis_port());
        let peers = peers
            .iter()
            .map(|peer| PeerServers::start(*peer, count, redis_port, payload));
        Ok(Self {
            peers: peers.collect::<Result<_>>()?,
            pace: options.pace(),
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
        for (peer, rounds) in self.peers.iter_mut().zip(&mut rounds.peers) {
            rounds.one_socket.push(peer.throughput(self.time, &self.servers)?);
        }
        rounds.http.push(self.throughput(SenderKind::Services, self.window)?);
        rounds.batched_calls.push(self.calls(self.batch)?);
        rounds.bystander.push(self.bystander()?);
        self.singles(rounds)?;
        self.paced(rounds)
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

    /// Measures the latency of single events and messages. The measurements alternate in slices, so that other load on
    /// the machine affects all of them.
    fn singles(&mut self, rounds: &mut ClusterRounds) -> Result<()> {
        let slice = self.time / 4 / SLICES;
        let [mut bare, mut alone, mut same, mut across] = <[Latencies; 4]>::default();
        let mut peers: Vec<_> = self.peers.iter().map(|_| Latencies::default()).collect();
        for _ in 0..SLICES {
            self.baseline.messages(slice, None, &mut bare)?;
            let (sender, receiver) = &mut self.alone;
            sender.measure_latency(receiver, slice, &mut alone)?;
            self.measure_latency(0, slice, &mut same)?;
            self.measure_latency(1, slice, &mut across)?;
            for (peer, latencies) in self.peers.iter_mut().zip(&mut peers) {
                peer.measure_latency(slice, latencies)?;
            }
        }
        rounds.bare.push(bare.summary());
        rounds.alone.push(alone.summary());
        rounds.same.push(same.summary());
        rounds.across.push(across.summary());
        for (rounds, latencies) in rounds.peers.iter_mut().zip(peers) {
            rounds.across.push(latencies.summary());
        }
        Ok(())
    }

    /// Measures the latency at a constant rate, in slices too.
    fn paced(&mut self, rounds: &mut ClusterRounds) -> Result<()> {
        let (slice, pace, key) = (self.time / 4 / SLICES, self.pace, key("root"));
        let ClusterServers { nodes, alone, .. } = &self.servers;
        let [only, second] = [alone, &nodes[1]].map(|node| ContestTarget::node(node.address, &key));
        let mut bare = Latencies::default();
        let mut alone = PacedClients::connect(only.address, &only, pace)?;
        let mut across = PacedClients::connect(nodes[0].address, &second, pace)?;
        let peers = self.peers.iter().map(|peer| peer.paced_clients(pace));
        let mut peers = peers.collect::<Result<Vec<_>>>()?;
        for _ in 0..SLICES {
            self.baseline.messages(slice, Some(pace), &mut bare)?;
            for clients in [&mut alone, &mut across].into_iter().chain(&mut peers) {
                clients.run(slice)?;
            }
        }
        rounds.paced.bare.push(bare.summary());
        rounds.paced.alone.push(alone.into_latencies().summary());
        rounds.paced.across.push(across.into_latencies().summary());
        for (rounds, clients) in rounds.peers.iter_mut().zip(peers) {
            rounds.paced.push(clients.into_latencies().summary());
        }
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
        let sent = self.sent();
        let before = self.servers.usages()?;
        let senders = senders_of(kind, &mut self.websites, &mut self.services);
        let run = WindowRun::new(senders, &mut self.receivers, sent, window, self.time)?;
        Ok(Throughput::new(run.events, run.time, &before, &self.servers.usages()?))
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

    /// Adds what the clients of the peers have received in the whole run.
    pub(super) fn finish(&self, rounds: &mut ClusterRounds) {
        for (peer, rounds) in self.peers.iter().zip(&mut rounds.peers) {
            rounds.deliveries = peer.deliveries();
        }
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

fn sent(websites: &[ClusterSender], services: &[ClusterSender]) -> Vec<u64> {
    websites
        .iter()
        .chain(services)
        .map(|sender| sender.source.sent)
        .collect()
}
