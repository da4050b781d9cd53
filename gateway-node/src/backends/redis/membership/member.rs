//! One session: its desired state here, and its actual state in Redis.

use std::sync::Arc;

use shared::{client_type::ClientType, session_id::SessionId, v1::Report};
use tokio::{sync::oneshot, time::Instant};

use super::{
    op::{CHUNK, MembershipOp},
    sending::SendingReport,
};
use crate::backplane::{JoiningTicket, Position, Worker, report_rates::ReportRates};

/// How many guilds the first call of a leave removes: it must be cheap, since it has to come soon.
const FIRST_LEAVE: usize = 1;

/// A session that is connected, or has not been removed from Redis yet.
pub(in crate::backends::redis) struct Member {
    pub(in crate::backends::redis) kind: ClientType,
    pub(in crate::backends::redis) ticket: Option<JoiningTicket>,
    pub(in crate::backends::redis) worker: Option<Worker>,
    /// Its latest report. A newer report replaces it, whether or not it was sent.
    pub(in crate::backends::redis) desired: Option<Desired>,
    pub(in crate::backends::redis) stored: StoredReport,
    /// The report being sent. Only one is sent at a time, and always to its end.
    pub(in crate::backends::redis) sending: Option<SendingReport>,
    /// Its desired state.
    pub(in crate::backends::redis) is: Actual,
    /// Its actual state in Redis.
    pub(in crate::backends::redis) taken_for: Actual,
    /// Whether it is queued for a step.
    pub(in crate::backends::redis) is_changed: bool,
    /// Whether its report waits for its key's allowance.
    pub(in crate::backends::redis) is_waiting: bool,
    /// Whether its removal has started.
    pub(in crate::backends::redis) is_leaving: bool,
}

/// A report, and the id of the key that it is charged to.
pub(in crate::backends::redis) struct Desired {
    pub(in crate::backends::redis) report: Arc<Report>,
    pub(in crate::backends::redis) key: Arc<str>,
    /// Whoever waits until it or a later report is applied.
    pub(in crate::backends::redis) waiters: Vec<oneshot::Sender<Position>>,
}

/// What a session needs next.
pub(in crate::backends::redis) enum NextOp {
    MembershipOp(MembershipOp),
    /// Its report has to wait until then.
    Wait(Instant),
    Nothing,
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backends::redis) enum Actual {
    /// Ended; as an actual state, unknown to Redis until it joins again.
    Gone,
    /// A member that is not ready yet.
    Member,
    /// A ready member, which receives events addressed to one of several.
    Receiver,
}

/// The report that Redis has of a session.
pub(in crate::backends::redis) enum StoredReport {
    Report(Option<Arc<Report>>),
    /// A report read back from Redis. The next report only repairs what was lost, so its key is not charged.
    Found(Arc<Report>),
    /// Unknown; it has to be read.
    Unknown,
}

impl Member {
    pub(in crate::backends::redis) fn new(kind: ClientType) -> Self {
        Self {
            kind,
            ticket: None,
            worker: None,
            desired: None,
            stored: StoredReport::Report(None),
            sending: None,
            is: Actual::Member,
            taken_for: Actual::Member,
            is_changed: false,
            is_waiting: false,
            is_leaving: false,
        }
    }

    pub(in crate::backends::redis) fn needs_a_step(&self) -> bool {
        let is_stored = match (&self.stored, &self.desired) {
            (StoredReport::Report(None), None) => true,
            (StoredReport::Report(Some(stored)), Some(desired)) => Arc::ptr_eq(stored, &desired.report),
            _ => false,
        };
        // An ended session is dropped as soon as Redis has removed it.
        self.is == Actual::Gone || self.is != self.taken_for || !is_stored
    }

    /// Discards the report being sent: the report in Redis has to be read.
    pub(in crate::backends::redis) fn lose_sight(&mut self) {
        self.sending = None;
        self.stored = StoredReport::Unknown;
    }

    /// Whether the next step touches many guilds. Only few such steps are in flight at once.
    pub(in crate::backends::redis) fn is_next_heavy(&self) -> bool {
        match (self.is, self.taken_for) {
            (Actual::Gone, _) => self.is_leaving,
            (_, Actual::Gone) | (Actual::Receiver, Actual::Member) => false,
            _ => true,
        }
    }

    /// Whether a report or its removal has started.
    pub(in crate::backends::redis) const fn has_begun(&self) -> bool {
        self.sending.is_some() || self.is_leaving
    }

    /// Returns the next step. A report that starts is charged to its key.
    pub(in crate::backends::redis) fn next(&mut self, id: SessionId, rates: &mut ReportRates, now: Instant) -> NextOp {
        match (self.is, self.taken_for) {
            (Actual::Gone, _) => {
                self.sending = None;
                let budget = if self.is_leaving { CHUNK } else { FIRST_LEAVE };
                self.is_leaving = true;
                return NextOp::MembershipOp(MembershipOp::Leave(id, budget));
            }
            (_, Actual::Gone) => {
                return NextOp::MembershipOp(MembershipOp::JoinAgain(
                    id,
                    self.kind,
                    self.ticket.clone(),
                    self.worker.clone(),
                ));
            }
            (Actual::Receiver, Actual::Member) => return NextOp::MembershipOp(MembershipOp::Enter(id)),
            _ => {}
        }
        if let Some(sending) = &mut self.sending {
            return NextOp::MembershipOp(sending.next_part(id));
        }
        let Some(Desired { report, key, .. }) = &self.desired else {
            return match self.stored {
                StoredReport::Unknown => NextOp::MembershipOp(MembershipOp::Ask(id)),
                StoredReport::Report(_) | StoredReport::Found(_) => NextOp::Nothing,
            };
        };
        let (stored, is_free) = match &self.stored {
            StoredReport::Unknown => return NextOp::MembershipOp(MembershipOp::Ask(id)),
            StoredReport::Report(Some(stored)) if Arc::ptr_eq(stored, report) => return NextOp::Nothing,
            StoredReport::Report(stored) => (stored.as_deref(), false),
            StoredReport::Found(found) => (Some(&**found), true),
        };
        if !is_free {
            let wait = rates.wait(key, now);
            if !wait.is_zero() {
                return NextOp::Wait(now + wait);
            }
        }
        let mut sending = SendingReport::new(Arc::clone(report), stored);
        if !is_free {
            rates.charge(key, sending.guilds_left(), now);
        }
        let part = sending.next_part(id);
        self.sending = Some(sending);
        NextOp::MembershipOp(part)
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
