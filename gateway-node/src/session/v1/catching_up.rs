//! A session that catches up with the end of the log before it receives events as they come.
//!
//! It reads the pages that Discord sessions replay, picks what it missed, and subscribes once it is at the end of the
//! node's replay buffer. A session that only wants positions does the same from where it joined, so that everything that
//! it is told has a place in the log.

use std::sync::Arc;

use shared::{
    client_type::ClientType,
    close::Close,
    v1::{Report, payload},
};
use smallvec::smallvec;

use super::{V1, V1Actions, call::V1Call, missed::MissedEvents};
use crate::{
    backplane::Position,
    encode::LogCursor,
    fanout::member::Replayed,
    registry::{Registration, V1Subscription},
    replay::{ReadFrom, ReplayPage},
    resume::ReadError,
    session::{Action, Cx},
};

/// A session that still has to receive what came before it could subscribe.
pub(super) struct CatchingUp {
    registration: Registration,
    missed: MissedEvents,
    /// The position that the client named, as sent, while nothing after it is lost.
    after: Option<Box<str>>,
    /// Where to read on.
    from: ReadFrom,
    /// A bot has the events of its guilds from this offset on.
    replayed_from: u64,
    /// The position of the last event that was sent.
    last_sent: Option<Position>,
    /// How many events were sent.
    events: u64,
    /// What the session reports or watches from when it has caught up, and the number of the packet that is answered
    /// then.
    deferred: Option<(Report, u64)>,
}

impl CatchingUp {
    /// Creates the state of a session that begins at `after`, or where it joined. `guilds` are those that it watches or,
    /// if it is a bot, reports first.
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
    fn begin(&mut self) -> Option<String> {
        let since = self.registration.since;
        let named = self.after.as_ref()?.parse::<Position>();
        // Nothing is after the end of the log, which the session has joined at.
        match named
            .ok()
            .filter(|named| named.epoch != since.epoch || named.offset <= since.offset)
        {
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
    fn lose(&mut self) -> Option<String> {
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

    fn read(&self) -> Action<V1Call> {
        Action::Call(V1Call::Read {
            application: Arc::clone(self.registration.key.application()),
            from: self.from,
            since: self.registration.since,
        })
    }

    /// Whether the session receives the guild counts in an entry at this position. Older ones are outdated.
    fn gets_counts(&self, position: Position) -> bool {
        let is_asked = self.registration.counts || self.registration.kind == ClientType::Bot;
        is_asked && position.is_after(self.registration.since)
    }

    /// Makes a report wait until the session has caught up: up to then it gets the events of the guilds of its identify.
    /// It replaces a report that waits already.
    fn defer(&mut self, report: Report, number: u64) {
        let awaited = self.deferred.as_ref().map_or(0, |(_, awaited)| *awaited);
        self.deferred = Some((report, awaited.max(number)));
    }

    /// Returns what the session subscribes with at this cursor.
    fn subscription(&self, since: LogCursor) -> V1Subscription {
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

impl V1 {
    /// Starts to catch up.
    pub(super) fn catch_up(&mut self, mut catching_up: CatchingUp) -> V1Actions {
        let lost = catching_up.begin();
        let mut actions: V1Actions = lost.iter().map(|lost| self.send(lost)).collect();
        actions.push(catching_up.read());
        self.catching_up = Some(Box::new(catching_up));
        actions
    }

    /// Sends what was read. Then reads on once the client has taken it, or subscribes at the end of the log.
    pub(super) fn read_page(&mut self, page: Result<ReplayPage, ReadError>, cx: &Cx<'_>) -> V1Actions {
        let Some(state) = &mut self.catching_up else {
            return V1Actions::new();
        };
        let page = match page {
            Ok(page) => page,
            Err(ReadError::Unavailable) => return self.fail_plainly(Close::UNAVAILABLE, None),
            Err(ReadError::Severed) => {
                return match state.lose() {
                    Some(lost) => {
                        let read = state.read();
                        smallvec![self.send(&lost), read]
                    }
                    // As for any session that misses something.
                    None => self.fail_plainly(Close::RESTARTING, None),
                };
            }
        };
        let mut actions = V1Actions::new();
        for entry in page.entries() {
            let position = entry.entry().position;
            if entry.is_counts() {
                if state.gets_counts(position) {
                    actions.push(Action::Send(entry.frame(self.encoding)));
                }
            } else if state.missed.has(entry.entry()) {
                state.events += 1;
                state.last_sent = Some(position);
                actions.push(Action::Send(entry.frame(self.encoding)));
            }
        }
        state.from = page.next;
        match page.end {
            Some(end) if cx.subscribe_v1(state.subscription(end)) => {
                actions.extend(self.caught_up(end.position));
            }
            // There is more to read, or the shard has delivered more by now.
            _ if actions.is_empty() => actions.push(state.read()),
            _ => actions.push(Action::Drain),
        }
        actions
    }

    /// Tells the client that it has caught up, and does what had to wait.
    fn caught_up(&mut self, position: Position) -> V1Actions {
        let Some(state) = self.catching_up.take() else {
            return V1Actions::new();
        };
        let CatchingUp {
            after,
            events,
            deferred,
            ..
        } = *state;
        let mut actions = V1Actions::new();
        if after.is_some() {
            actions.push(self.send(&payload::caught_up(&position.to_string(), events)));
        }
        actions.extend(deferred.and_then(|(report, number)| self.report_action(report, number)));
        actions
    }

    /// Reads on once the client has taken everything.
    pub(super) fn read_on(&self) -> V1Actions {
        self.catching_up.iter().map(|state| state.read()).collect()
    }

    /// Returns the position up to which the session has been sent everything, if its client is told. It is not known
    /// once the node has a gap.
    pub(super) fn position(&self, cx: &Cx<'_>) -> Option<Position> {
        match &self.catching_up {
            Some(state) => Some(state.position()),
            None if self.has_positions => cx.v1_cursor().map(|cursor| cursor.position),
            None => None,
        }
    }

    /// Whether no further report or renewal can be answered until the session has caught up.
    pub(super) fn is_report_awaited(&self) -> bool {
        let deferred = self.catching_up.as_ref().and_then(|state| state.deferred.as_ref());
        deferred.is_some_and(|(_, awaited)| *awaited > 0)
    }

    /// Replaces what the session reports or watches, at once or when it has caught up.
    pub(super) fn report_action(&mut self, report: Report, number: u64) -> Option<Action<V1Call>> {
        if let Some(state) = &mut self.catching_up {
            state.defer(report, number);
            return None;
        }
        Some(Action::Report {
            report,
            number,
            patience: self.settings.report_patience,
        })
    }
}
