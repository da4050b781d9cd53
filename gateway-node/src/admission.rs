//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shared::token_bucket::TokenBucket;
use tokio::time::Instant;

/// How often addresses that are gone are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What may connect.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Connections to the node.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Attempts from one address in a minute.
    pub attempts_per_minute: u32,
}

/// The connections there are. Clones count together.
#[derive(Debug, Clone)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    open: AtomicUsize,
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
    open: usize,
    attempts: TokenBucket,
    seen: Instant,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node has as many connections as it may have.
    #[error("the node has no room for more connections")]
    Full,
    /// The address has.
    #[error("too many connections from this address")]
    PerAddress,
    /// The address tries too often.
    #[error("too many attempts from this address")]
    Attempts,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    /// None for a trusted proxy.
    address: Option<IpAddr>,
}

impl Admission {
    /// Nobody is there yet.
    pub fn new(limits: AdmissionLimits) -> Self {
        let now = Instant::now();
        let addresses = Mutex::new(Addresses {
            known: HashMap::new(),
            swept: now,
        });
        Self {
            inner: Arc::new(Inner {
                limits,
                open: AtomicUsize::new(0),
                origin: now,
                addresses,
            }),
        }
    }

    /// Connections there are now.
    pub fn open(&self) -> usize {
        self.inner.open.load(SeqCst)
    }

    /// Lets one more in. `address` is `None` for who counts against no address.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<Permit, Denied> {
        let Inner {
            limits,
            open,
            origin,
            addresses,
        } = &*self.inner;
        let address = address.map(network);
        // From here on the permit gives back what was taken, whatever is denied.
        let permit = Permit {
            inner: Arc::clone(&self.inner),
            address: None,
        };
        if open.fetch_add(1, SeqCst) >= limits.connections {
            return Err(Denied::Full);
        }
        let Some(address) = address else {
            return Ok(permit);
        };
        let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.sweep(now);
        let known = addresses.known.entry(address).or_insert_with(|| Address {
            open: 0,
            attempts: TokenBucket::per_minute(limits.attempts_per_minute),
            seen: now,
        });
        known.seen = now;
        if !known.attempts.take(now.saturating_duration_since(*origin)) {
            return Err(Denied::Attempts);
        }
        if known.open >= limits.per_address {
            return Err(Denied::PerAddress);
        }
        known.open += 1;
        drop(addresses);
        let mut permit = permit;
        permit.address = Some(address);
        Ok(permit)
    }
}

impl Addresses {
    /// Forgets who has no connection and has not tried for a minute: its allowance is full again.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.known
                .retain(|_, known| known.open > 0 || now.saturating_duration_since(known.seen) < SWEEP);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.open.fetch_sub(1, SeqCst);
        if let Some(address) = self.address {
            let mut addresses = self.inner.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = addresses.known.get_mut(&address) {
                known.open -= 1;
            }
        }
    }
}

/// The network that counts as one client: all of an IPv4 address, the first 64 bits of an IPv6 address.
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
mod tests {
    use super::*;

    fn admission(connections: usize, per_address: usize, attempts_per_minute: u32) -> Admission {
        Admission::new(AdmissionLimits {
            connections,
            per_address,
            attempts_per_minute,
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_limit_denies_in_its_own_name_and_gives_back() {
        let admission = admission(3, 2, 100);
        let now = Instant::now();
        let first = admission.admit(Some(address("192.0.2.1")), now).unwrap();
        let _second = admission.admit(Some(address("192.0.2.1")), now).unwrap();
        assert_eq!(
            admission.admit(Some(address("192.0.2.1")), now).unwrap_err(),
            Denied::PerAddress
        );
        let _proxied = admission.admit(None, now).unwrap();
        assert_eq!(
            admission.admit(Some(address("192.0.2.2")), now).unwrap_err(),
            Denied::Full
        );
        assert_eq!(admission.open(), 3);
        drop(first);
        admission.admit(Some(address("192.0.2.1")), now).unwrap();
        assert_eq!(admission.open(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted_even_when_they_leave_at_once() {
        let admission = admission(100, 100, 5);
        for _ in 0..5 {
            admission.admit(Some(address("2001:db8::1")), Instant::now()).unwrap();
        }
        let neighbour = address("2001:db8::ffff:1");
        assert_eq!(
            admission.admit(Some(neighbour), Instant::now()).unwrap_err(),
            Denied::Attempts
        );
        admission.admit(Some(address("2001:db8:1::1")), Instant::now()).unwrap();
        tokio::time::advance(SWEEP).await;
        admission.admit(Some(neighbour), Instant::now()).unwrap();
        assert_eq!(admission.inner.addresses.lock().unwrap().known.len(), 1);
    }
}
