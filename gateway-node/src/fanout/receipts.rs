//! The requests that the sessions of one worker have received and not answered yet.

use std::{collections::BTreeSet, sync::Arc};

use rustc_hash::FxHashMap;
use shared::{session_id::SessionId, v1::Receipt};
use tokio::time::Instant;

use crate::backplane::ReplyAddress;

/// The most requests that one session can have received and not answered. Further ones are not given to it; if no other
/// session can have them, their requesters are told that it is gone.
const MOST_OF_SESSION: usize = 4096;

/// The receipts of one application's v1 sessions on one worker.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    open: FxHashMap<Receipt, OpenRequest>,
    by_session: FxHashMap<SessionId, BTreeSet<Receipt>>,
    by_deadline: BTreeSet<(Instant, Receipt)>,
}

/// A request that a session has received and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its receipt.
    pub receipt: Receipt,
    /// The session that has it. No other session can answer it.
    pub session: SessionId,
    /// The name of the event.
    pub name: Arc<str>,
    /// Where the reply goes.
    pub reply_to: ReplyAddress,
    /// When the requester stops waiting.
    pub until: Instant,
}

impl Receipts {
    /// Whether a session can receive another request. Forgets those that are over.
    pub(crate) fn has_room(&mut self, session: SessionId, now: Instant) -> bool {
        while let Some((until, receipt)) = self.by_deadline.first().copied()
            && until <= now
        {
            self.remove(receipt);
        }
        self.by_session
            .get(&session)
            .is_none_or(|receipts| receipts.len() < MOST_OF_SESSION)
    }

    /// Records that a session has received a request.
    pub(crate) fn insert(&mut self, request: OpenRequest) {
        self.by_session
            .entry(request.session)
            .or_default()
            .insert(request.receipt);
        self.by_deadline.insert((request.until, request.receipt));
        self.open.insert(request.receipt, request);
    }

    /// Takes a request that this session has received. Returns `None` if it has not, has answered it, or is too late.
    pub(crate) fn take(&mut self, receipt: Receipt, session: SessionId, now: Instant) -> Option<OpenRequest> {
        let is_theirs = self
            .open
            .get(&receipt)
            .is_some_and(|request| request.session == session && request.until > now);
        if is_theirs { self.remove(receipt) } else { None }
    }

    /// Takes all requests of a session that has ended.
    pub(crate) fn end(&mut self, session: SessionId) -> Vec<OpenRequest> {
        let receipts = self.by_session.remove(&session).unwrap_or_default();
        receipts
            .into_iter()
            .filter_map(|receipt| self.remove(receipt))
            .collect()
    }

    fn remove(&mut self, receipt: Receipt) -> Option<OpenRequest> {
        let request = self.open.remove(&receipt)?;
        self.by_deadline.remove(&(request.until, receipt));
        if let Some(receipts) = self.by_session.get_mut(&request.session) {
            receipts.remove(&receipt);
            if receipts.is_empty() {
                self.by_session.remove(&request.session);
            }
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(raw: u64) -> SessionId {
        SessionId::from_raw(raw)
    }

    fn request(receipt: u128, session: u64, until: Instant) -> OpenRequest {
        OpenRequest {
            receipt: Receipt::from_raw(receipt),
            session: id(session),
            name: "ask".into(),
            reply_to: ReplyAddress::from_raw(1),
            until,
        }
    }

    fn is_empty(receipts: &Receipts) -> bool {
        receipts.open.is_empty() && receipts.by_session.is_empty() && receipts.by_deadline.is_empty()
    }

    #[test]
    fn a_receipt_is_good_once_for_its_session_until_the_timeout() {
        let (mut receipts, now) = (Receipts::default(), Instant::now());
        let until = now + Duration::from_secs(5);
        receipts.insert(request(1, 7, until));
        let receipt = Receipt::from_raw(1);
        assert_eq!(receipts.take(receipt, id(8), now), None);
        assert_eq!(receipts.take(Receipt::from_raw(2), id(7), now), None);
        assert_eq!(receipts.take(receipt, id(7), until), None);
        assert_eq!(receipts.take(receipt, id(7), now), Some(request(1, 7, until)));
        assert_eq!(receipts.take(receipt, id(7), now), None);
        assert!(is_empty(&receipts));
    }

    #[test]
    fn the_requests_of_an_ended_session_are_returned() {
        let (mut receipts, now) = (Receipts::default(), Instant::now());
        let until = now + Duration::from_secs(5);
        for (receipt, session) in [(1, 7), (2, 8), (3, 7)] {
            receipts.insert(request(receipt, session, until));
        }
        assert_eq!(receipts.end(id(7)), [request(1, 7, until), request(3, 7, until)]);
        assert_eq!(receipts.end(id(7)), []);
        assert_eq!(receipts.end(id(8)).len(), 1);
        assert!(is_empty(&receipts));
    }

    #[test]
    fn a_session_has_a_bounded_number_of_open_requests() {
        let (mut receipts, now) = (Receipts::default(), Instant::now());
        let until = now + Duration::from_secs(5);
        for receipt in 0..MOST_OF_SESSION as u128 {
            assert!(receipts.has_room(id(7), now));
            receipts.insert(request(receipt, 7, until));
        }
        assert!(!receipts.has_room(id(7), now) && receipts.has_room(id(8), now));
        // Those that are over make room.
        assert!(receipts.has_room(id(7), until));
        assert!(is_empty(&receipts));
    }
}
