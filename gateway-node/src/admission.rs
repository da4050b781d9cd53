//! Limits on connections: to the node, from one address, and from one address without a valid key.
//!
//! Every TCP connection is counted as soon as it is accepted, whatever it is used for. A trusted proxy counts only
//! towards the node's limit. Each request that it forwards is charged to the client address that it names.

use std::{
    cell::Cell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// How often idle addresses are removed, and how long an address has to be idle for that.
const SWEEP: Duration = Duration::from_secs(60);
/// How many refused connections of the node may read a response at the same time.
const REFUSALS: usize = 32;
/// How many of those may come from one address.
const REFUSALS_PER_ADDRESS: usize = 4;

/// The limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Connections to the node.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Connections from one address that have shown no valid key.
    pub keyless_per_address: usize,
    /// Connection attempts from one address per minute.
    pub attempts_per_minute: u32,
}

impl AdmissionLimits {
    /// No limits, for tests and for a listener that only tests use.
    pub const UNLIMITED: Self = Self {
        connections: usize::MAX,
        per_address: usize::MAX,
        keyless_per_address: usize::MAX,
        attempts_per_minute: u32::MAX,
    };
}

/// Counts connections and enforces their limits. Clones share the counts.
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

/// Why a connection or a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node has reached its limit of connections.
    #[error("the node has as many connections as `limits.connections` and its file descriptors allow")]
    Full,
    /// The address has reached its limit of connections.
    #[error("this address has as many connections as `limits.connections_per_address` allows")]
    PerAddress,
    /// The address has reached its limit of connections without a valid key.
    #[error(
        "this address has as many connections without a valid key as half of the node's file descriptors, which no \
         address may exceed whatever `limits.connections_per_address` allows"
    )]
    Keyless,
    /// The address has used up its connection attempts.
    #[error("this address has made as many attempts as `limits.connection_attempts_per_minute` allows")]
    Attempts,
}

impl Denied {
    /// The names of all reasons.
    pub const CODES: [&'static str; 3] = ["full", "connections_per_address", "connection_attempts"];

    /// The name of the reason in metrics and in responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PerAddress | Self::Keyless => "connections_per_address",
            Self::Attempts => "connection_attempts",
        }
    }
}

/// The admission of one connection, or of one request that a proxy forwards. Dropping it releases what it counted for.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<AdmissionInner>,
    /// The address that it counts for. `None` for a trusted proxy.
    address: Option<IpAddr>,
    /// Whether it counts as a connection of the node. A forwarded request does not; its proxy's connection does.
    is_connection: bool,
    is_websocket: Cell<bool>,
    has_shown_key: Cell<bool>,
    attempt: Cell<Attempt>,
}

/// The state of the connection attempt that a permit was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Charged when the connection was accepted, and covers its first request.
    Fresh,
    /// Charged, and used up by a request.
    Taken,
    /// Refunded, or never charged.
    Free,
}

impl Admission {
    /// Creates an admission without any connections.
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

    /// The most connections that the node accepts.
    pub fn limit(&self) -> usize {
        self.inner.limits.connections
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
    /// If a limit is reached.
    pub fn connect(&self, address: Option<IpAddr>, now: Instant) -> Result<Permit, Denied> {
        // From here on, dropping the permit releases what was counted, also if a limit below denies it.
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

    /// Admits a request that a trusted proxy forwards for `address`. The caller keeps the permit while the WebSocket is
    /// open, or until any other request is answered.
    ///
    /// # Errors
    /// If a limit of the address is reached.
    pub fn forward(&self, address: IpAddr, now: Instant) -> Result<Permit, Denied> {
        let mut permit = self.permit(false);
        permit.charge(address, now)?;
        Ok(permit)
    }

    /// Lets a refused connection read a response that says why. Returns `None` if too many already do; the connection
    /// is then cut without a response.
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
            // The address is unknown if the node was full: `connect` then returns before it looks at the address.
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
    /// Charges an attempt and a connection to `address`.
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

    /// Charges a request to its address as an attempt. The first request of a connection is free, because accepting the
    /// connection was charged already. Requests from a trusted proxy are charged by [`Admission::forward`] instead.
    ///
    /// # Errors
    /// If the address has no attempts left.
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

    /// Records that the client has shown a valid key over HTTP. Refunds the attempt, and the connection no longer
    /// counts as one without a key.
    pub fn show_key(&self) {
        let attempt = self.attempt.replace(Attempt::Free);
        self.settle_key(attempt != Attempt::Free);
    }

    /// Records that the session of a WebSocket has identified. The connection no longer counts as one without a key;
    /// its attempt is not refunded.
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

    /// Returns a permit that counts towards no limit.
    #[cfg(test)]
    pub(crate) fn free() -> std::rc::Rc<Self> {
        std::rc::Rc::new(Admission::new(AdmissionLimits::UNLIMITED).permit(false))
    }

    /// Lets a client that is still sending its request read the response. See [`Admission::refuse`].
    pub fn refuse(&self) -> Option<RefusalPermit> {
        let admission = Admission {
            inner: Arc::clone(&self.inner),
        };
        // All trusted proxies together count as one address here.
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

/// Allows a refused connection to read a response. Dropping it lets another one do so.
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
        self.addresses.lock()
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
    /// Removes the addresses that have no connection and have made no attempt for a minute: their attempts have been
    /// refilled by then.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.known
                .retain(|_, known| !known.is_idle() || now.saturating_duration_since(known.seen) < SWEEP);
        }
    }
}

/// Returns the network that counts as one client: an IPv4 address itself, or the /64 of an IPv6 address.
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
