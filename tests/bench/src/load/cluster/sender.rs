//! The senders, which publish as fast as they may: websites through their sockets, services through HTTP in batches.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    super::{
        blocking_session::BlockingSession,
        contest::{ClientRole, ContestTarget, Dialect},
        http::Http,
        latencies::Latencies,
    },
    event::NumberedEvent,
    event_protocol::EventProtocol,
    receiver::EventReceiver,
    send_window::SendWindow,
};
use anyhow::{Context as _, Result, bail};

/// The most events that a socket sends in one write.
const CHUNK: u64 = 128;

/// A sender: its events, and how it sends them.
pub(super) struct ClusterSender {
    /// The events it sends.
    pub(super) source: Source,
    transport: SenderTransport,
}

/// The events of a sender, in order.
#[derive(Debug)]
pub(super) struct Source {
    /// Index of the sender.
    pub(super) number: usize,
    /// Events sent so far.
    pub(super) sent: u64,
    /// Size of an event's data, in bytes.
    payload: usize,
}

enum SenderTransport {
    Socket {
        session: BlockingSession,
        protocol: EventProtocol,
    },
    Http {
        address: SocketAddr,
        key: String,
        /// Events per request.
        batch: usize,
    },
}

impl Source {
    /// Returns the next event for the HTTP API.
    pub(super) fn next(&mut self) -> String {
        let event = self.next_event();
        event.payload("", self.payload)
    }

    fn frame(&mut self, protocol: &EventProtocol) -> Vec<u8> {
        let event = self.next_event();
        protocol.frame(event, self.payload)
    }

    fn next_event(&mut self) -> NumberedEvent {
        let event = NumberedEvent {
            sender: self.number,
            number: self.sent,
        };
        self.sent += 1;
        event
    }
}

impl ClusterSender {
    /// Creates sender `number`, a website client of a node. `payload` is the size of an event's data, in bytes.
    pub(super) fn socket(number: usize, address: SocketAddr, key: &str, payload: usize) -> Result<Self> {
        let session = BlockingSession::open(address, "website", key)?;
        let protocol = EventProtocol::Version1;
        Ok(Self::new(
            number,
            payload,
            SenderTransport::Socket { session, protocol },
        ))
    }

    /// Creates the only sender of a third-party server that speaks `dialect`.
    pub(super) fn peer(target: &ContestTarget, dialect: Box<dyn Dialect>, payload: usize) -> Result<Self> {
        let session = BlockingSession::open_as(ClientRole::Sender, target)?;
        let protocol = EventProtocol::Peer(dialect);
        Ok(Self::new(0, payload, SenderTransport::Socket { session, protocol }))
    }

    /// Creates sender `number`, a service that publishes `batch` events per request.
    pub(super) fn http(number: usize, address: SocketAddr, key: &str, payload: usize, batch: usize) -> Self {
        let key = key.to_owned();
        Self::new(number, payload, SenderTransport::Http { address, key, batch })
    }

    fn new(number: usize, payload: usize, transport: SenderTransport) -> Self {
        let source = Source {
            number,
            sent: 0,
            payload,
        };
        Self { source, transport }
    }

    /// Publishes until `until`, never further ahead than the window allows.
    pub(super) fn run(&mut self, until: Instant, window: &SendWindow) -> Result<()> {
        let Self { source, transport } = self;
        match transport {
            SenderTransport::Socket { session, protocol } => {
                while Instant::now() < until {
                    let room = window.wait_for_room(source.number, source.sent, CHUNK / 2)?.min(CHUNK);
                    let frames: Vec<_> = (0..room).flat_map(|_| source.frame(protocol)).collect();
                    session.send(&frames)?;
                    if protocol.has_answers() {
                        session.discard()?;
                    }
                }
            }
            SenderTransport::Http { address, key, batch } => {
                // A new connection each time, because a node closes one that has been idle for a while.
                let mut http = Http::connect(*address, key)?;
                while Instant::now() < until {
                    window.wait_for_room(source.number, source.sent, *batch as u64)?;
                    let events: Vec<_> = (0..*batch).map(|_| source.next()).collect();
                    http.publish(&format!("[{}]", events.join(",")))?;
                }
            }
        }
        Ok(())
    }

    /// Measures for `time` how long an event takes to reach a receiver, one event at a time. Only a sender with a
    /// socket can do this.
    pub(super) fn measure_latency(
        &mut self,
        receiver: &mut EventReceiver,
        time: Duration,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let Self { source, transport } = self;
        let SenderTransport::Socket { session, protocol } = transport else {
            bail!("only a sender with a socket can measure latency");
        };
        let until = Instant::now() + time;
        while Instant::now() < until {
            if protocol.has_answers() {
                session.discard()?;
            }
            let frame = source.frame(protocol);
            let sent = Instant::now();
            session.send(&frame)?;
            receiver
                .wait_for(source.number, source.sent)
                .context("waiting for a single event")?;
            latencies.add(sent.elapsed());
        }
        Ok(())
    }
}
