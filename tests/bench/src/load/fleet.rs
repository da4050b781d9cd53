//! Many clients on one thread: one `epoll` loop, one read buffer.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use gateway_harness::frame;
use mio::{Events, Interest, Poll, Token};

use super::{
    peer::{Heard, Left, Peer, Protocol, Wire},
    source,
};

/// How a client reads once it has identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gait {
    /// Everything, as it arrives.
    Eager,
    /// Nothing but what [`Fleet::read`] is called for.
    OnDemand,
}

/// The clients, by number.
pub(super) struct Fleet {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    seats: Vec<Option<Seat>>,
    address: SocketAddr,
    wire: Wire,
}

struct Seat {
    peer: Peer,
    gait: Gait,
}

impl Fleet {
    /// No clients yet, and room for `count` at a time, of the node at `address`.
    pub(super) fn new(address: SocketAddr, protocol: Protocol, key: &str, count: u32) -> Result<Self> {
        source::make_room(count)?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            scratch: vec![0; 262_144],
            seats: Vec::new(),
            address,
            wire: Wire::of(protocol, address, key),
        })
    }

    /// Opens one more client and returns its number. `receive_buffer` is `SO_RCVBUF` where it is not the system's.
    pub(super) fn open(&mut self, gait: Gait, receive_buffer: Option<usize>) -> Result<usize> {
        let stream = source::connect(self.seats.len(), self.address, receive_buffer)?;
        self.seat(Peer::new(stream), gait)
    }

    /// Opens one that goes on with a session and reads everything.
    pub(super) fn resume(&mut self, left: Left) -> Result<usize> {
        let stream = source::connect(self.seats.len(), self.address, None)?;
        self.seat(Peer::resuming(stream, left), Gait::Eager)
    }

    fn seat(&mut self, mut peer: Peer, gait: Gait) -> Result<usize> {
        let number = self.seats.len();
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(peer.stream(), Token(number), interests)?;
        self.seats.push(Some(Seat { peer, gait }));
        Ok(number)
    }

    /// Waits until something happens, at most `timeout` (rounded up to a millisecond), and hears it.
    pub(super) fn turn(&mut self, timeout: Duration, hear: &mut dyn FnMut(usize, Heard<'_>)) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let number = event.token().0;
            let place = &mut self.seats[number];
            let Some(seat) = place else { continue };
            if event.is_writable() {
                let written = seat.peer.writable(&self.wire);
                written.with_context(|| format!("client {number}"))?;
            }
            let wants = seat.gait == Gait::Eager || !seat.peer.is_live();
            if wants && event.is_readable() {
                read(place, number, &mut self.scratch, usize::MAX, &self.wire, hear)?;
            }
        }
        Ok(())
    }

    /// Reads up to `budget` bytes of one client.
    pub(super) fn read(&mut self, number: usize, budget: usize, hear: &mut dyn FnMut(usize, Heard<'_>)) -> Result<()> {
        let place = &mut self.seats[number];
        read(place, number, &mut self.scratch, budget, &self.wire, hear)
    }

    /// Lets a client read everything from now on.
    pub(super) fn hurry(&mut self, number: usize, hear: &mut dyn FnMut(usize, Heard<'_>)) -> Result<()> {
        if let Some(seat) = &mut self.seats[number] {
            seat.gait = Gait::Eager;
        }
        // What is there already makes no event any more.
        self.read(number, usize::MAX, hear)
    }

    /// Lets a client say that it goes for good.
    pub(super) fn close(&mut self, number: usize) {
        self.send(number, &frame::close(1000));
    }

    /// Sends bytes to the node; whether the client is still there.
    pub(super) fn send(&mut self, number: usize, bytes: &[u8]) -> bool {
        match &mut self.seats[number] {
            Some(seat) => {
                seat.peer.send(bytes);
                true
            }
            None => false,
        }
    }
}

/// Reads of the client in `place`, which is vacated when its connection ends.
fn read(
    place: &mut Option<Seat>,
    number: usize,
    scratch: &mut [u8],
    budget: usize,
    wire: &Wire,
    hear: &mut dyn FnMut(usize, Heard<'_>),
) -> Result<()> {
    let Some(seat) = place else { return Ok(()) };
    let goes_on = seat
        .peer
        .read(scratch, budget, wire, &mut |heard| hear(number, heard))
        .with_context(|| format!("client {number}"))?;
    if !goes_on {
        *place = None;
    }
    Ok(())
}
