//! Those who send as fast as they may: websites through their sockets, services through HTTP in batches.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use gateway_harness::frame;

use super::{
    super::{http::Http, latencies::Latencies},
    event::NumberedEvent,
    receiver::BotReceiver,
    send_window::SendWindow,
    session::BlockingSession,
};

/// The most events that a socket sends in one write.
const CHUNK: u64 = 128;

/// One sender: the source of its events, and how it sends them.
pub(super) struct EventSender {
    /// What it sends.
    pub(super) source: Source,
    transport: SenderTransport,
}

/// The events of a sender, in their order.
#[derive(Debug)]
pub(super) struct Source {
    number: usize,
    /// Events so far.
    pub(super) sent: u64,
    /// Bytes of each one's data.
    payload: usize,
}

enum SenderTransport {
    Socket(BlockingSession),
    Http {
        address: SocketAddr,
        key: String,
        /// Events of one request.
        batch: usize,
    },
}

impl Source {
    fn next(&mut self, op: &str) -> String {
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

impl EventSender {
    /// A website on a node, the sender of this number. `payload` is the bytes of an event's data.
    pub(super) fn socket(number: usize, address: SocketAddr, key: &str, payload: usize) -> Result<Self> {
        let session = BlockingSession::open(address, "website", key)?;
        Ok(Self::new(number, payload, SenderTransport::Socket(session)))
    }

    /// A service that sends `batch` events in each request.
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

    /// Sends until `until`, never further ahead than the board lets it.
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
                // A node does not keep a connection that nobody has used for a while.
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

    /// From sending an event to its arrival at a receiver, one at a time, for `time`. A sender with a socket can.
    pub(super) fn measure_latency(
        &mut self,
        receiver: &mut BotReceiver,
        time: Duration,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let Self { source, transport } = self;
        let SenderTransport::Socket(session) = transport else {
            bail!("a sender without a socket");
        };
        let until = Instant::now() + time;
        while Instant::now() < until {
            let frame = source.frame();
            let sent = Instant::now();
            session.send(&frame)?;
            receiver
                .wait_for(source.number, source.sent)
                .context("an event alone on its way")?;
            latencies.add(sent.elapsed());
        }
        Ok(())
    }
}
