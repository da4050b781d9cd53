//! A TCP proxy in the test's own process, between any two, with faults that are switched on while bytes flow.
//!
//! [`Proxy`] is the handle, `weather` is what goes on in it, `connection` carries the bytes. It knows no protocol.

mod connection;
mod faults;

use std::{net::SocketAddr, num::NonZero, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use self::{
    connection::{carry, cut},
    faults::{ProxyFaults, TrafficMode},
};

/// A proxy on a port of its own. When it is dropped, so are its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<ProxyFaults>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy that passes on to `target` whatever it is sent, and back.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (faults, receiver) = watch::channel(ProxyFaults::none(target));
        Self {
            address,
            faults,
            task: tokio::spawn(accept(listener, receiver)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends connections that come from now on to another address.
    pub fn retarget(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }

    /// Holds back everything that arrives from now on for so long, in both directions. Order is kept.
    pub fn delay(&self, time: Duration) {
        self.faults.send_modify(|faults| faults.delay = time);
    }

    /// Lets no more than so many bytes pass in a second, in each direction of each connection.
    pub fn throttle(&self, bytes_per_second: NonZero<u32>) {
        self.faults
            .send_modify(|faults| faults.bytes_per_second = Some(bytes_per_second));
    }

    /// Writes at most so many bytes at once, each time in a segment of their own.
    pub fn slice(&self, bytes: NonZero<usize>) {
        self.faults.send_modify(|faults| faults.slice = Some(bytes));
    }

    /// Both sides take the other for alive: connections stay and are accepted, but no byte, no end and no reset passes
    /// until [`Self::heal`], after which all of it does.
    pub fn freeze(&self) {
        self.faults.send_modify(|faults| faults.traffic = TrafficMode::Frozen);
    }

    /// As [`Self::freeze`], but what is sent meanwhile is thrown away; [`Self::heal`] then resets these connections.
    pub fn black_hole(&self) {
        self.faults
            .send_modify(|faults| faults.traffic = TrafficMode::BlackHole);
    }

    /// Closes every connection that comes from now on at once. Those that are open stay.
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| faults.traffic = TrafficMode::Refused);
    }

    /// Cuts all connections by a reset, to both sides.
    pub fn reset(&self) {
        self.faults.send_modify(|faults| faults.resets += 1);
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.faults.send_modify(ProxyFaults::heal);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, faults: watch::Receiver<ProxyFaults>) {
    let mut connections = JoinSet::new();
    loop {
        let client = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = client else { continue };
        let now = faults.borrow().clone();
        if now.traffic == TrafficMode::Refused {
            cut(&client);
        } else {
            connections.spawn(carry(client, now.resets, faults.clone()));
        }
    }
}
