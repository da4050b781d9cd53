//! The senders, which publish as fast as they may: websites through their sockets, services through HTTP in batches.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use gateway_harness::frame;

use super::{
    super::{blocking_session::BlockingSession, http::Http, latencies::Latencies},
    event::NumberedEvent,
    receiver::BotReceiver,
    send_window::SendWindow,
};

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
    number: usize,
    /// Events sent so far.
    pub(super) sent: u64,
    /// Size of an event's data, in bytes.
    payload: usize,
}

enum SenderTransport {
    Socket(BlockingSession),
    Http {
        address: SocketAddr,
        key: String,
        /// Events per request.
        batch: usize,
    },
}

impl Source {
    /// Returns the next event; `op` is what comes before its name.
    pub(super) fn next(&mut self, op: &str) -> String {
        let event = NumberedEvent {
            sender: self.number,
            number: self.sent,
        };
        self.sent += 1;
        event.payload(op, self.payload)
    }

    fn frame(&mut self) -> Vec<u8> {
        frame::text(&self.next("\"op\":1,"))
    }
}

impl ClusterSender {
    /// Creates sender `number`, a website client of a node. `payload` is the size of an event's data, in bytes.
    pub(super) fn socket(number: usize, address: SocketAddr, key: &str, payload: usize) -> Result<Self> {
        let session = BlockingSession::open(address, "website", key)?;
        Ok(Self::new(number, payload, SenderTransport::Socket(session)))
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
            SenderTransport::Socket(session) => {
                while Instant::now() < until {
                    let room = window.wait_for_room(source.number, source.sent, CHUNK / 2)?.min(CHUNK);
                    let frames: Vec<_> = (0..room).flat_map(|_| source.frame()).collect();
                    session.send(&frames)?;
                }
            }
            SenderTransport::Http { address, key, batch } => {
                // A new connection each time, because a node closes one that has been idle for a while.
                let mut http = Http::connect(*address, key)?;
                while Instant::now() < until {
                    window.wait_for_room(source.number, source.sent, *batch as u64)?;
                    let events: Vec<_> = (0..*batch).map(|_| source.next("")).collect();
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
        receiver: &mut BotReceiver,
        time: Duration,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let Self { source, transport } = self;
        let SenderTransport::Socket(session) = transport else {
            bail!("only a sender with a socket can measure latency");
        };
        let until = Instant::now() + time;
        while Instant::now() < until {
            let frame = source.frame();
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
