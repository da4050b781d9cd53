//! What a protocol's state machine gets from its session at once.

use shared::v1::Receipt;
use tokio::time::Instant;

use crate::{
    encode::LogCursor,
    registry::{OpenRequest, SessionHandle, Subscription, V1Subscription},
    transport::Outbox,
};

/// The context of one call into a [`Protocol`](super::Protocol): the time, and the session's subscription to the log.
pub struct Cx<'a> {
    /// The time of the call.
    pub now: Instant,
    session: Option<(&'a SessionHandle, &'a Outbox)>,
}

impl<'a> Cx<'a> {
    /// The context of a session that is connected.
    pub(super) fn new(now: Instant, handle: Option<&'a SessionHandle>, outbox: &'a Outbox) -> Self {
        Self {
            now,
            session: handle.map(|handle| (handle, outbox)),
        }
    }

    /// A context without a session, in which nothing can be subscribed: for tests and benchmarks of a state machine.
    pub const fn at(now: Instant) -> Self {
        Self { now, session: None }
    }

    /// Subscribes the session to its log. Returns `false` if its shard is already past `subscription.since`: then the
    /// session has to read on first.
    pub fn subscribe(&self, subscription: Subscription) -> bool {
        self.session
            .is_some_and(|(handle, outbox)| handle.subscribe(subscription, outbox.clone()))
    }

    /// Subscribes a v1 session that catches up. Returns `false` if its shard is already past `subscription.since`: then
    /// the session has to read on first.
    pub fn subscribe_v1(&self, subscription: V1Subscription) -> bool {
        self.session
            .is_some_and(|(handle, outbox)| handle.subscribe_v1(subscription, outbox.clone()))
    }

    /// Returns how far the shard has brought a v1 session, as [`cursor`](Self::cursor) does for a Discord session.
    pub fn v1_cursor(&self) -> Option<LogCursor> {
        self.session.and_then(|(handle, _)| handle.v1_cursor())
    }

    /// Takes a request that a v1 session has received, to answer it. Returns `None` if it has not received it, has answered
    /// it already, or is too late.
    pub fn take_request(&self, receipt: Receipt) -> Option<OpenRequest> {
        self.session
            .and_then(|(handle, _)| handle.take_request(receipt, self.now))
    }

    /// Ends the subscription. Nothing more is delivered to the session.
    pub fn unsubscribe(&self) {
        if let Some((handle, _)) = self.session {
            handle.unsubscribe();
        }
    }

    /// Returns when the session last sent something: a frame of its own, an event, or an answer to a ping. `None` before
    /// the first.
    pub fn last_sent(&self) -> Option<Instant> {
        self.session.and_then(|(_, outbox)| outbox.last_sent())
    }

    /// Returns how far the shard has brought the session: every entry up to there was delivered to it, or is not for
    /// it. `None` if the session has no subscription.
    pub fn cursor(&self) -> Option<LogCursor> {
        self.session.and_then(|(handle, _)| handle.cursor())
    }
}
