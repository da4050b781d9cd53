//! A TCP proxy in the test's own process, with faults that are switched on while bytes flow.
//!
//! [`Proxy`] is the handle, `faults` has the faults, and `connection` forwards the bytes. It knows no protocol.

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

/// A proxy on a port of its own. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<ProxyFaults>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy that forwards in both directions between its clients and `target`.
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

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards new connections to another address.
    pub fn retarget(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }

    /// Delays everything that arrives from now on, in both directions, without changing the order.
    pub fn delay(&self, time: Duration) {
        self.faults.send_modify(|faults| faults.delay = time);
    }

    /// Limits the rate in each direction of each connection.
    pub fn throttle(&self, bytes_per_second: NonZero<u32>) {
        self.faults
            .send_modify(|faults| faults.bytes_per_second = Some(bytes_per_second));
    }

    /// Limits the size of writes; each write becomes a segment of its own.
    pub fn slice(&self, bytes: NonZero<usize>) {
        self.faults.send_modify(|faults| faults.slice = Some(bytes));
    }

    /// Freezes all traffic. To both sides the other seems alive: connections stay open and are accepted, but no byte,
    /// FIN or reset passes until [`Self::heal`], after which all of it does.
    pub fn freeze(&self) {
        self.faults.send_modify(|faults| faults.traffic = TrafficMode::Frozen);
    }

    /// Like [`Self::freeze`], but everything that is sent meanwhile is discarded, and [`Self::heal`] resets these
    /// connections.
    pub fn black_hole(&self) {
        self.faults
            .send_modify(|faults| faults.traffic = TrafficMode::BlackHole);
    }

    /// Closes every new connection at once. Open connections stay.
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| faults.traffic = TrafficMode::Refused);
    }

    /// Resets all connections, on both sides.
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
