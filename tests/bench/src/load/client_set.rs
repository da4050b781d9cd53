//! Many clients of one node on one thread, with one `epoll` loop and one read buffer.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use gateway_harness::frame;
use mio::{Events, Interest, Poll, Token};

use super::{
    client::{ClientHandshake, LoadClient, LoadClientEvent, LoadProtocol, ResumePoint},
    source,
};

/// How a client reads after it has identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// Reads everything as it arrives.
    Eager,
    /// Reads only when [`ClientSet::read`] is called.
    OnDemand,
}

/// The clients, indexed by number.
pub(super) struct ClientSet {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    clients: Vec<Option<ManagedClient>>,
    address: SocketAddr,
    handshake: ClientHandshake,
}

struct ManagedClient {
    client: LoadClient,
    read_mode: ReadMode,
}

impl ClientSet {
    /// Creates an empty set for up to `count` simultaneous clients of the node at `address`.
    pub(super) fn new(address: SocketAddr, protocol: LoadProtocol, key: &str, count: u32) -> Result<Self> {
        source::raise_descriptor_limit(count)?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            scratch: vec![0; 262_144],
            clients: Vec::new(),
            address,
            handshake: ClientHandshake::of(protocol, address, key),
        })
    }

    /// Opens a client and returns its number. `receive_buffer` overrides the system's `SO_RCVBUF`.
    pub(super) fn open(&mut self, read_mode: ReadMode, receive_buffer: Option<usize>) -> Result<usize> {
        let stream = source::connect(self.clients.len(), self.address, receive_buffer)?;
        self.register(LoadClient::new(stream), read_mode)
    }

    /// Opens a client that resumes a session and reads everything.
    pub(super) fn resume(&mut self, resume_point: ResumePoint) -> Result<usize> {
        let stream = source::connect(self.clients.len(), self.address, None)?;
        self.register(LoadClient::resuming(stream, resume_point), ReadMode::Eager)
    }

    fn register(&mut self, mut client: LoadClient, read_mode: ReadMode) -> Result<usize> {
        let number = self.clients.len();
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(client.stream(), Token(number), interests)?;
        self.clients.push(Some(ManagedClient { client, read_mode }));
        Ok(number)
    }

    /// Waits for socket events for up to `timeout` (rounded up to a millisecond) and handles them.
    pub(super) fn turn(
        &mut self,
        timeout: Duration,
        on_event: &mut dyn FnMut(usize, LoadClientEvent<'_>),
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let number = event.token().0;
            let slot = &mut self.clients[number];
            let Some(managed) = slot else { continue };
            if event.is_writable() {
                let written = managed.client.writable(&self.handshake);
                written.with_context(|| format!("client {number}"))?;
            }
            let wants = managed.read_mode == ReadMode::Eager || !managed.client.is_live();
            if wants && event.is_readable() {
                read(slot, number, &mut self.scratch, usize::MAX, &self.handshake, on_event)?;
            }
        }
        Ok(())
    }

    /// Reads up to `budget` bytes from one client.
    pub(super) fn read(
        &mut self,
        number: usize,
        budget: usize,
        on_event: &mut dyn FnMut(usize, LoadClientEvent<'_>),
    ) -> Result<()> {
        let slot = &mut self.clients[number];
        read(slot, number, &mut self.scratch, budget, &self.handshake, on_event)
    }

    /// Makes a client read everything from now on.
    pub(super) fn read_eagerly(
        &mut self,
        number: usize,
        on_event: &mut dyn FnMut(usize, LoadClientEvent<'_>),
    ) -> Result<()> {
        if let Some(managed) = &mut self.clients[number] {
            managed.read_mode = ReadMode::Eager;
        }
        // `epoll` is edge-triggered: data that has already arrived causes no further event.
        self.read(number, usize::MAX, on_event)
    }

    /// Closes a client's connection with 1000, which ends its session.
    pub(super) fn close(&mut self, number: usize) {
        self.send(number, &frame::close(1000));
    }

    /// Sends bytes to the node. Returns whether the client is still connected.
    pub(super) fn send(&mut self, number: usize, bytes: &[u8]) -> bool {
        match &mut self.clients[number] {
            Some(managed) => {
                managed.client.send(bytes);
                true
            }
            None => false,
        }
    }
}

/// Reads from the client in `slot`, which becomes empty when the connection ends.
fn read(
    slot: &mut Option<ManagedClient>,
    number: usize,
    scratch: &mut [u8],
    budget: usize,
    handshake: &ClientHandshake,
    on_event: &mut dyn FnMut(usize, LoadClientEvent<'_>),
) -> Result<()> {
    let Some(managed) = slot else { return Ok(()) };
    let goes_on = managed
        .client
        .read(scratch, budget, handshake, &mut |event| on_event(number, event))
        .with_context(|| format!("client {number}"))?;
    if !goes_on {
        *slot = None;
    }
    Ok(())
}
