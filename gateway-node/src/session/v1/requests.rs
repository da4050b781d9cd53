//! The requests of a session that have no outcome yet.

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
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

/// The reply of a client to a request, as it was read.
pub(super) struct ReplyPacket<'a> {
    /// The receipt, as sent.
    pub(super) receipt: &'a str,
    /// The reply or the error, as sent.
    pub(super) d: Option<&'a RawValue>,
    /// Whether it is an error.
    pub(super) is_error: bool,
    /// The nonce, if the packet is to be answered.
    pub(super) nonce: Option<Nonce>,
}
