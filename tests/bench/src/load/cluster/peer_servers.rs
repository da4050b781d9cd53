//! Third-party servers that share the cluster's Redis, and their clients.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::{
    super::{
        contest::{ContestServer, PeerServer},
        latencies::Latencies,
        usage::Usage,
    },
    delivery_checker::DeliveryErrors,
    measure::ONE_WINDOW,
    paced::{Pace, PacedClients},
    receiver::EventReceiver,
    rounds::Throughput,
    sender::ClusterSender,
    servers::ClusterServers,
    window_run::WindowRun,
};

/// A third-party server that can share a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterPeer {
    /// Centrifuge, which publishes through Redis and keeps nothing there.
    Centrifuge,
    /// Centrifuge with a history in Redis.
    CentrifugeHistory,
    /// Socket.IO with its adapter for Redis streams.
    #[value(name = "socketio")]
    SocketIo,
}

impl ClusterPeer {
    /// Returns its name in `tests/bench/peers`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Centrifuge => "centrifuge",
            Self::CentrifugeHistory => "centrifuge-history",
            Self::SocketIo => "socketio",
        }
    }

    fn server(self) -> PeerServer {
        match self {
            Self::Centrifuge | Self::CentrifugeHistory => PeerServer::Centrifuge,
            Self::SocketIo => PeerServer::SocketIo,
        }
    }
}

/// Several servers of one peer: a sender at the first of them, and a receiver at each.
pub(super) struct PeerServers {
    servers: Vec<ContestServer>,
    sender: ClusterSender,
    receivers: Vec<EventReceiver>,
}

impl PeerServers {
    /// Starts `count` servers that share the Redis at `redis_port`, and connects the clients. `payload` is the size of an
    /// event's data, in bytes.
    pub(super) fn start(peer: ClusterPeer, count: u32, redis_port: u16, payload: usize) -> Result<Self> {
        let server = peer.server();
        let servers = (0..count).map(|_| server.start(peer.name(), Some(redis_port), None));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let targets = servers.iter().map(|server| &server.target);
        let receivers = targets.map(|target| EventReceiver::open_peer(target, server.dialect()));
        let receivers = receivers.collect::<Result<_>>()?;
        let first = servers.first().context("a peer has no servers")?;
        let sender = ClusterSender::peer(&first.target, server.dialect(), payload)?;
        Ok(Self {
            servers,
            sender,
            receivers,
        })
    }

    /// Measures the throughput of the sender, each of whose events reaches the receivers of all servers. `cluster` has
    /// the Redis.
    pub(super) fn throughput(&mut self, time: Duration, cluster: &ClusterServers) -> Result<Throughput> {
        let before = self.usages(cluster)?;
        let senders = std::slice::from_mut(&mut self.sender);
        let sent = vec![senders[0].source.sent];
        let run = WindowRun::new(senders, &mut self.receivers, sent, ONE_WINDOW, time)?;
        Ok(Throughput::new(run.events, run.time, &before, &self.usages(cluster)?))
    }

    /// Measures the latency from the first server to the second one, one event at a time. The other servers receive the
    /// events too before this returns.
    pub(super) fn measure_latency(&mut self, time: Duration, latencies: &mut Latencies) -> Result<()> {
        self.sender.measure_latency(&mut self.receivers[1], time, latencies)?;
        for receiver in &mut self.receivers {
            receiver.wait_for(0, self.sender.source.sent)?;
        }
        Ok(())
    }

    /// Connects clients that send at a constant rate from the first server to the second one.
    pub(super) fn paced_clients(&self, pace: Pace) -> Result<PacedClients<'_>> {
        let [first, second, ..] = &self.servers[..] else {
            bail!("a peer has fewer than two servers");
        };
        PacedClients::connect(first.target.address, &second.target, pace)
    }

    /// Returns how many events each receiver should have received, and the delivery errors of all receivers.
    pub(super) fn deliveries(&self) -> (u64, DeliveryErrors) {
        let sent = self.sender.source.sent;
        let errors = self.receivers.iter().map(|receiver| receiver.errors(&[sent]));
        (sent, errors.fold(DeliveryErrors::default(), DeliveryErrors::and))
    }

    /// Returns what each server, Redis and this process have used so far, in this order.
    fn usages(&self, cluster: &ClusterServers) -> Result<Vec<Usage>> {
        let servers = self.servers.iter().map(ContestServer::usage);
        servers.chain(cluster.shared_usages()).collect()
    }
}
