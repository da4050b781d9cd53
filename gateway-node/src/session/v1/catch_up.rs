//! What a session still has to receive before it gets events as they come.

use std::sync::Arc;

use shared::{
    client_type::ClientType,
    v1::{Report, payload},
};

use super::{call::V1Call, missed::MissedEvents};
use crate::{
    backplane::Position,
    encode::LogCursor,
    registry::{Registration, Replayed, V1Subscription},
    replay::ReadFrom,
    session::Action,
};

/// A session that still has to receive what came before it could subscribe.
pub(super) struct CatchUp {
    pub(super) registration: Registration,
    pub(super) missed: MissedEvents,
    /// The position that the client named, as sent, while nothing after it is lost.
    pub(super) after: Option<Box<str>>,
    /// Where to read on.
    pub(super) from: ReadFrom,
    /// A bot has the events of its guilds from this offset on.
    replayed_from: u64,
    /// The position of the last event that was sent.
    pub(super) last_sent: Option<Position>,
    /// How many events were sent.
    pub(super) events: u64,
    /// What the session reports or watches from when it has caught up, and the number of the packet that is answered
    /// then.
    pub(super) deferred: Option<(Report, u64)>,
}

impl CatchUp {
    /// Creates the state of a session whose client named `after`, and that makes this report once it has caught up.
    pub(super) fn new(registration: Registration, after: Option<Box<str>>, report: Option<Report>) -> Self {
        let ticket = registration.ticket.as_ref();
        let missed = MissedEvents {
            session: registration.id,
            kind: registration.kind,
            guilds: registration.guilds.clone(),
            user: ticket.and_then(|ticket| ticket.rights.user.clone()),
            has_ticket: ticket.is_some(),
        };
        let since = registration.since;
        Self {
            registration,
            missed,
            after,
            from: ReadFrom::Position(since),
            replayed_from: since.offset + 1,
            last_sent: None,
            events: 0,
            deferred: report.map(|report| (report, 0)),
        }
    }

    /// Everything up to this position that the session is to get has been sent.
    pub(super) const fn position(&self) -> Position {
        self.from.position()
    }

    /// Begins at the position that the client named. Returns the payload for a client that named one which this log
    /// cannot have.
    pub(super) fn begin(&mut self) -> Option<String> {
        let since = self.registration.since;
        let named = self.after.as_ref()?.parse::<Position>();
        // Nothing is after the end of the log, which the session has joined at.
        let is_possible = |named: &Position| named.epoch != since.epoch || named.offset <= since.offset;
        match named.ok().filter(is_possible) {
            Some(named) => {
                self.from = ReadFrom::Position(named);
                // The client has received that one, too.
                self.replayed_from = named.offset;
                None
            }
            None => self.lose(),
        }
    }

    /// Goes on from where the session joined, because the log does not lead there from where the client was. Returns what
    /// the client is told, or `None` if it cannot go on from there: it has got later events, or is told already.
    pub(super) fn lose(&mut self) -> Option<String> {
        let since = self.registration.since;
        let is_before = |sent: Position| sent.epoch == since.epoch && sent.offset <= since.offset;
        if !self.last_sent.is_none_or(is_before) {
            return None;
        }
        let after = self.after.take()?;
        self.from = ReadFrom::Position(since);
        self.replayed_from = since.offset + 1;
        Some(payload::events_lost(&after, &since.to_string()))
    }

    pub(super) fn read(&self) -> Action<V1Call> {
        Action::Call(V1Call::Read {
            application: Arc::clone(self.registration.key.application()),
            from: self.from,
            since: self.registration.since,
        })
    }

    /// Whether the session receives the guild counts in an entry at this position. Older ones are outdated.
    pub(super) fn gets_counts(&self, position: Position) -> bool {
        let is_asked = self.registration.counts || self.registration.kind == ClientType::Bot;
        is_asked && position.is_after(self.registration.since)
    }

    /// Makes a report wait until the session has caught up: up to then it gets the events of the guilds of its identify.
    /// It replaces a report that waits already.
    pub(super) fn defer(&mut self, report: Report, number: u64) {
        let awaited = self.deferred.as_ref().map_or(0, |(_, awaited)| *awaited);
        self.deferred = Some((report, awaited.max(number)));
    }

    /// Returns what the session subscribes with at this cursor.
    pub(super) fn subscription(&self, since: LogCursor) -> V1Subscription {
        let is_bot = self.registration.kind == ClientType::Bot;
        let replayed = || Replayed {
            guilds: self.registration.guilds.clone(),
            from: self.replayed_from,
        };
        V1Subscription {
            registration: self.registration.clone(),
            since,
            replayed: (is_bot && !self.registration.guilds.is_empty()).then(|| Box::new(replayed())),
        }
    }
}
