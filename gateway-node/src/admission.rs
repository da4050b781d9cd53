//! How many connections there may be: to the node, from one address, and from one address without a key.
//!
//! Every TCP connection is counted from accept on, whatever it turns out to be. A proxy that the operator trusts counts
//! for the node alone; what it forwards is charged, request by request, to the address that it names.

use std::{
    cell::Cell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// How often addresses that are gone are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How many refused connections of the node may wait for their answer at once.
const REFUSALS: usize = 32;
/// How many of those may be of one address.
const REFUSALS_PER_ADDRESS: usize = 4;

/// What may connect.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Connections to the node.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Connections from one address that have shown no valid key.
    pub keyless_per_address: usize,
    /// Attempts from one address in a minute.
    pub attempts_per_minute: u32,
}

impl AdmissionLimits {
    /// Lets everything in: for a listener that only tests have, and for tests.
    pub const UNLIMITED: Self = Self {
        connections: usize::MAX,
        per_address: usize::MAX,
        keyless_per_address: usize::MAX,
        attempts_per_minute: u32::MAX,
    };
}

/// The connections there are. Clones count together.
#[derive(Debug, Clone)]
pub struct Admission {
    inner: Arc<AdmissionInner>,
}

#[derive(Debug)]
struct AdmissionInner {
    limits: AdmissionLimits,
    connections: AtomicUsize,
    websockets: AtomicUsize,
    refusals: AtomicUsize,
    origin: Instant,
    addresses: Mutex<Addresses>,
}

#[derive(Debug)]
struct Addresses {
    known: HashMap<IpAddr, Address>,
    swept: Instant,
}

#[derive(Debug)]
struct Address {
    connections: usize,
    keyless: usize,
    refusals: usize,
    attempts: TokenBucket,
    seen: Instant,
}

impl Address {
    const fn is_idle(&self) -> bool {
        self.connections == 0 && self.refusals == 0
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node has as many connections as it may have.
    #[error("the node has as many connections as `limits.connections` and its file descriptors allow")]
    Full,
    /// The address has.
    #[error("this address has as many connections as `limits.connections_per_address` allows")]
    PerAddress,
    /// The address has as many connections as may have shown no valid key.
    #[error(
        "this address has as many connections without a valid key as half of the node's file descriptors, which no address \
         may exceed whatever `limits.connections_per_address` allows"
    )]
    Keyless,
    /// The address tries too often.
    #[error("this address has made as many attempts as `limits.connection_attempts_per_minute` allows")]
    Attempts,
}

impl Denied {
    /// The name of the reason in metrics and in answers.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PerAddress | Self::Keyless => "connections_per_address",
            Self::Attempts => "connection_attempts",
        }
    }
}

/// One connection, or one request that a proxy forwards. What it took is given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<AdmissionInner>,
    /// The address that it counts for; `None` for a trusted proxy.
    address: Option<IpAddr>,
    /// Whether it counts as a connection of the node: a forwarded request does not, its proxy does.
    is_connection: bool,
    is_websocket: Cell<bool>,
    has_shown_key: Cell<bool>,
    attempt: Cell<Attempt>,
}

/// What became of the attempt that a permit stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Taken when the connection was accepted; its first request costs no other.
    Fresh,
    /// Taken.
    Taken,
    /// Given back, or never taken.
    Free,
}

impl Admission {
    /// Counts from zero.
    pub fn new(limits: AdmissionLimits) -> Self {
        let now = Instant::now();
        let addresses = Mutex::new(Addresses {
            known: HashMap::new(),
            swept: now,
        });
        Self {
            inner: Arc::new(AdmissionInner {
                limits,
                connections: AtomicUsize::new(0),
                websockets: AtomicUsize::new(0),
                refusals: AtomicUsize::new(0),
                origin: now,
                addresses,
            }),
        }
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(SeqCst)
    }

    /// The number of connections that are WebSockets.
    pub fn websockets(&self) -> usize {
        self.inner.websockets.load(SeqCst)
    }

    /// Admits a TCP connection. `address` is `None` for a trusted proxy.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn connect(&self, address: Option<IpAddr>, now: Instant) -> Result<Permit, Denied> {
        // From here on the permit gives back what was taken, whatever is denied.
        let mut permit = self.permit(true);
        if self.inner.connections.fetch_add(1, SeqCst) >= self.inner.limits.connections {
            return Err(Denied::Full);
        }
        if let Some(address) = address {
            permit.charge(address, now)?;
            permit.attempt.set(Attempt::Fresh);
        }
        Ok(permit)
    }

    /// Admits a request that a trusted proxy forwards for `address`: a WebSocket for as long as it is open, any other
    /// until it is answered.
    ///
    /// # Errors
    /// When a limit of the address is reached.
    pub fn forward(&self, address: IpAddr, now: Instant) -> Result<Permit, Denied> {
        let mut permit = self.permit(false);
        permit.charge(address, now)?;
        Ok(permit)
    }

    /// Takes one of the few places in which a refused connection may read its answer. Returns `None` if all are taken:
    /// the connection is then cut without one.
    pub fn refuse(&self, address: IpAddr) -> Option<RefusalPermit> {
        let address = network(address);
        let mut addresses = self.inner.addresses();
        let known = addresses.known.get_mut(&address);
        if known
            .as_ref()
            .is_some_and(|known| known.refusals >= REFUSALS_PER_ADDRESS)
        {
            return None;
        }
        if self.inner.refusals.fetch_add(1, SeqCst) >= REFUSALS {
            self.inner.refusals.fetch_sub(1, SeqCst);
            return None;
        }
        if let Some(known) = known {
            known.refusals += 1;
        } else {
            // A full node asks nothing about the address.
            let known = Address::new(&self.inner.limits, Instant::now());
            addresses.known.insert(address, Address { refusals: 1, ..known });
        }
        drop(addresses);
        Some(RefusalPermit {
            inner: Arc::clone(&self.inner),
            address,
        })
    }

    fn permit(&self, is_connection: bool) -> Permit {
        Permit {
            inner: Arc::clone(&self.inner),
            address: None,
            is_connection,
            is_websocket: Cell::new(false),
            has_shown_key: Cell::new(false),
            attempt: Cell::new(Attempt::Free),
        }
    }
}

impl Permit {
    /// Counts the permit for `address`.
    fn charge(&mut self, address: IpAddr, now: Instant) -> Result<(), Denied> {
        let address = network(address);
        let inner = &*self.inner;
        let limits = &inner.limits;
        let mut addresses = inner.addresses();
        addresses.sweep(now);
        let known = addresses
            .known
            .entry(address)
            .or_insert_with(|| Address::new(limits, now));
        known.seen = now;
        if !known.attempts.take(inner.since(now)) {
            return Err(Denied::Attempts);
        }
        if known.connections >= limits.per_address {
            return Err(Denied::PerAddress);
        }
        if known.keyless >= limits.keyless_per_address {
            return Err(Denied::Keyless);
        }
        known.connections += 1;
        known.keyless += 1;
        drop(addresses);
        self.address = Some(address);
        self.attempt.set(Attempt::Taken);
        Ok(())
    }

    /// Counts a further request on a connection as an attempt of its address. The first request is counted already, and a
    /// trusted proxy's are counted by [`Admission::forward`].
    ///
    /// # Errors
    /// When the address has no attempts left.
    pub fn request(&self, now: Instant) -> Result<(), Denied> {
        if self.attempt.get() == Attempt::Fresh {
            self.attempt.set(Attempt::Taken);
            return Ok(());
        }
        let Some(address) = self.address else { return Ok(()) };
        let mut addresses = self.inner.addresses();
        let has_more = addresses.known.get_mut(&address).is_none_or(|known| {
            known.seen = now;
            known.attempts.take(self.inner.since(now))
        });
        drop(addresses);
        if !has_more {
            return Err(Denied::Attempts);
        }
        self.attempt.set(Attempt::Taken);
        Ok(())
    }

    /// Records that the client has shown a valid key over HTTP: gives the attempt back, and counts no more against the
    /// connections without a key.
    pub fn show_key(&self) {
        let attempt = self.attempt.replace(Attempt::Free);
        self.settle_key(attempt != Attempt::Free);
    }

    /// Records that the session of a WebSocket has identified. Its attempt stays taken.
    pub fn identify(&self) {
        self.settle_key(false);
    }

    fn settle_key(&self, gives_back: bool) {
        let is_first = !self.has_shown_key.replace(true);
        if !is_first && !gives_back {
            return;
        }
        let Some(address) = self.address else { return };
        if let Some(known) = self.inner.addresses().known.get_mut(&address) {
            known.keyless -= usize::from(is_first);
            if gives_back {
                known.attempts.put_back();
            }
        }
    }

    /// A permit that counts against nothing.
    #[cfg(test)]
    pub(crate) fn free() -> std::rc::Rc<Self> {
        std::rc::Rc::new(Admission::new(AdmissionLimits::UNLIMITED).permit(false))
    }

    /// Takes one of the few places in which a client may read an answer that it did not wait for. See
    /// [`Admission::refuse`].
    pub fn refuse(&self) -> Option<RefusalPermit> {
        let admission = Admission {
            inner: Arc::clone(&self.inner),
        };
        // All trusted proxies share the places of one address.
        admission.refuse(self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }

    /// Records that the connection has become a WebSocket.
    pub fn become_websocket(&self) {
        if !self.is_websocket.replace(true) {
            self.inner.websockets.fetch_add(1, SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_connection {
            self.inner.connections.fetch_sub(1, SeqCst);
        }
        if self.is_websocket.get() {
            self.inner.websockets.fetch_sub(1, SeqCst);
        }
        if let Some(address) = self.address
            && let Some(known) = self.inner.addresses().known.get_mut(&address)
        {
            known.connections -= 1;
            known.keyless -= usize::from(!self.has_shown_key.get());
        }
    }
}

/// The place of a refused connection that reads its answer, given back when it is dropped.
#[derive(Debug)]
pub struct RefusalPermit {
    inner: Arc<AdmissionInner>,
    address: IpAddr,
}

impl Drop for RefusalPermit {
    fn drop(&mut self) {
        self.inner.refusals.fetch_sub(1, SeqCst);
        if let Some(known) = self.inner.addresses().known.get_mut(&self.address) {
            known.refusals -= 1;
        }
    }
}

impl AdmissionInner {
    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

impl Address {
    fn new(limits: &AdmissionLimits, now: Instant) -> Self {
        Self {
            connections: 0,
            keyless: 0,
            refusals: 0,
            attempts: TokenBucket::per_minute(limits.attempts_per_minute),
            seen: now,
        }
    }
}

impl Addresses {
    /// Forgets the addresses that have no connection and have not tried for a minute: their allowance is full again.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.known
                .retain(|_, known| !known.is_idle() || now.saturating_duration_since(known.seen) < SWEEP);
        }
    }
}

/// The network that counts as one client: an IPv4 address itself, the first 64 bits of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
