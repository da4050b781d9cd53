//! The requests of a session that have no outcome yet.

use rustc_hash::FxHashMap;
use shared::v1::Nonce;

/// The nonces of the session's requests in flight, by the numbers of the requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    nonces: FxHashMap<u64, Nonce>,
    last: u64,
}

impl Requests {
    /// Adds a request and returns its number.
    pub(super) fn begin(&mut self, nonce: Nonce) -> u64 {
        self.last += 1;
        self.nonces.insert(self.last, nonce);
        self.last
    }

    /// Removes a request that has an outcome, and returns its nonce.
    pub(super) fn end(&mut self, number: u64) -> Option<Nonce> {
        self.nonces.remove(&number)
    }

    /// Returns how many requests are in flight.
    pub(super) fn len(&self) -> usize {
        self.nonces.len()
    }
}
