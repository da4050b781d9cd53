//! The rules for events and sessions of version 1.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    recording::{EventId, PublishOutcome, Receipt, Recipients, RecordedEnd, Recording, SenderId, SentEvent, V1Session},
    verdict::FaultVerdict,
};

/// How long a node may treat a session as alive after its connection broke.
const UNNOTICED: Duration = Duration::from_secs(15);

/// Checks a run against the rules.
pub fn check(recording: &Recording) -> FaultVerdict {
    let mut checker = Checker {
        recording,
        verdict: FaultVerdict::default(),
        seen: Vec::new(),
        receivers: HashMap::new(),
    };
    for (index, session) in recording.sessions.iter().enumerate() {
        checker.check_session(index, session);
    }
    checker.check_positions();
    for (index, session) in recording.sessions.iter().enumerate() {
        checker.check_gaps(index, session);
    }
    checker.check_events();
    checker.check_discord_sessions();
    checker.verdict
}

pub(super) struct Checker<'r> {
    pub(super) recording: &'r Recording,
    pub(super) verdict: FaultVerdict,
    /// What each session received, in the order of [`Recording::sessions`].
    seen: Vec<SessionReceipts>,
    /// The sessions that received an event, each with the time of its first receipt.
    receivers: HashMap<EventId, Vec<(usize, Instant)>>,
}

/// What one session received.
#[derive(Default)]
struct SessionReceipts {
    events: HashSet<EventId>,
    /// The lowest and the highest event number received from each sender. Events for one session or for a guild do not
    /// count, since they may be appended again.
    spans: HashMap<SenderId, (u64, u64)>,
    /// The latest `sent_at` among the received events that `spans` counts. Any event that was accepted before this
    /// moment comes before that event in the log.
    latest: Option<Instant>,
}

impl<'r> Checker<'r> {
    /// Checks the events that a session received, in order.
    fn check_session(&mut self, index: usize, session: &V1Session) {
        let mut seen = SessionReceipts::default();
        let mut highest: HashMap<SenderId, u64> = HashMap::new();
        self.verdict.deliveries += session.received.len() as u64;
        for receipt in &session.received {
            let id = receipt.id();
            let time = self.since_begin(receipt.at);
            let label = &session.label;
            let Some(event) = self.permitted(index, session, receipt) else {
                self.verdict.unauthorised += 1;
                self.verdict
                    .add_problem(|| format!("unauthorised: {id} ({}) at {label}, {time} s", receipt.name));
                continue;
            };
            if !seen.events.insert(id) {
                if self.recording.may_be_forgotten(event) {
                    self.verdict.uncertain += 1;
                    continue;
                }
                self.verdict.doubled += 1;
                self.verdict
                    .add_problem(|| format!("doubled: {id} at {label}, {time} s"));
                continue;
            }
            self.receivers.entry(id).or_default().push((index, receipt.at));
            let before = highest.entry(id.sender).or_default();
            if id.number > *before {
                *before = id.number;
            } else if !(event.may_be_redelivered() && self.may_have_been_redelivered(event, receipt.at)) {
                let before = *before;
                self.verdict.reordered += 1;
                self.verdict
                    .add_problem(|| format!("reordered: {id} after event {before} at {label}, {time} s"));
            }
            if !event.may_be_redelivered() {
                let (low, high) = seen.spans.entry(id.sender).or_insert((id.number, id.number));
                *low = id.number.min(*low);
                *high = id.number.max(*high);
                seen.latest = seen.latest.max(Some(event.sent_at));
            }
        }
        self.seen.push(seen);
    }

    /// Returns the event if this session may receive it.
    fn permitted(&self, index: usize, session: &V1Session, receipt: &Receipt) -> Option<&'r SentEvent> {
        let event = self.recording.event(receipt.sender, receipt.number)?;
        let is_own = self.recording.senders[receipt.sender].session == Some(index);
        let is_right = session.is_recipient(event.recipients) && *receipt.name == *event.name;
        (is_right && !is_own && !event.is_refused()).then_some(event)
    }

    /// Whether a session that ended, or was considered dead, before `at` may have handed back the event for redelivery.
    fn may_have_been_redelivered(&self, event: &SentEvent, at: Instant) -> bool {
        self.candidates(event).any(|(_, session)| {
            let has_ended = session.ended.is_some_and(|(end, _)| end < at);
            has_ended || session.absences.iter().any(|absence| absence.start < at)
        })
    }

    /// Returns the sessions that may have been chosen as receivers of an event for one session or for a guild.
    fn candidates(&self, event: &SentEvent) -> impl Iterator<Item = (usize, &'r V1Session)> {
        let sessions = self.recording.sessions.iter().enumerate();
        sessions.filter(|(_, session)| {
            let is_early = event.accepted_at().is_none_or(|at| session.identified_at < at);
            is_early && session.is_recipient(event.recipients)
        })
    }

    /// Checks that no two events have the same position in the log, and that a sender's offsets increase within an
    /// epoch.
    fn check_positions(&mut self) {
        let mut positions = HashMap::new();
        for (sender, events) in self.recording.senders.iter().enumerate() {
            let mut last: Option<(&_, &u64)> = None;
            for (number, event) in (1..).zip(&events.events) {
                let PublishOutcome::Accepted { offset, epoch, .. } = &event.outcome else {
                    continue;
                };
                let id = EventId { sender, number };
                match positions.entry((epoch, offset)) {
                    Entry::Occupied(other) => {
                        let other: &EventId = other.get();
                        self.verdict.doubled += 1;
                        self.verdict
                            .add_problem(|| format!("doubled: {id} and {other} have offset {offset} of epoch {epoch}"));
                    }
                    Entry::Vacant(vacant) => {
                        vacant.insert(id);
                    }
                }
                if last.is_some_and(|(known, last)| known == epoch && last > offset) {
                    self.verdict.reordered += 1;
                    self.verdict
                        .add_problem(|| format!("reordered: {id} has offset {offset}, less than the event before it"));
                }
                last = Some((epoch, offset));
            }
        }
    }

    /// Checks that a session received every event that was due to it.
    fn check_gaps(&mut self, index: usize, session: &V1Session) {
        for (sender, events) in self.recording.senders.iter().enumerate() {
            if events.session == Some(index) {
                continue;
            }
            let span = self.seen[index].spans.get(&sender).copied();
            for (number, event) in (1..).zip(&events.events) {
                let id = EventId { sender, number };
                // Events still in flight to a session that ended are not held against the gateway.
                let is_between = span.is_some_and(|(low, high)| low < number && number < high);
                let is_after_welcome = session.ended.is_none() && session.identified_at < event.sent_at;
                let is_due = event.is_promised() && (is_between || is_after_welcome);
                if is_due && is_receiver(session, event) && !self.seen[index].events.contains(&id) {
                    let is_told = session.ended.is_some() && self.recording.was_sent_in_a_split(event);
                    let excused =
                        is_told || (matches!(event.recipients, Recipients::Guild(_)) && session.was_absent(event));
                    self.add_missing(id, event, excused, &session.label, session.ended.is_none());
                }
            }
        }
    }

    /// Records that an event was not received at `place`. `stayed` is true if the session there was not closed, so that
    /// its client does not know that something is missing.
    pub(super) fn add_missing(&mut self, id: EventId, event: &SentEvent, excused: bool, place: &str, stayed: bool) {
        let sent = self.since_begin(event.sent_at);
        let position = match &event.outcome {
            PublishOutcome::Accepted { offset, epoch, .. } => format!(", offset {offset} of epoch {epoch}"),
            _ => String::new(),
        };
        let describe = |word: &str| format!("{word}: {id} ({}, sent at {sent} s{position}) at {place}", event.name);
        if self.recording.reports_lost(event) {
            self.verdict.gone += 1;
            if stayed {
                self.verdict.silent += 1;
                self.verdict.add_problem(|| describe("gone in silence"));
            }
        } else if excused {
            self.verdict.uncertain += 1;
        } else {
            self.verdict.lost += 1;
            self.verdict.add_problem(|| describe("lost"));
        }
    }

    /// Checks what depends on all sessions together.
    fn check_events(&mut self) {
        for (sender, events) in self.recording.senders.iter().enumerate() {
            for (number, event) in (1..).zip(&events.events) {
                let id = EventId { sender, number };
                let receivers = self.receivers.get(&id).map_or(&[][..], Vec::as_slice);
                let is_unseen = receivers.is_empty();
                self.verdict.accepted += u64::from(event.is_promised());
                self.verdict.uncertain += u64::from(is_unseen && event.outcome == PublishOutcome::Unknown);
                if event.is_for_one() && receivers.len() > 1 {
                    let extra = receivers.len() as u64 - 1;
                    // The node died, so the delivery may never have been recorded.
                    let died = |&(index, at): &(usize, Instant)| {
                        let ended = self.recording.sessions[index].ended;
                        ended.is_some_and(|(end, how)| how == RecordedEnd::NodeDied && end >= at)
                    };
                    if receivers.iter().any(died) || self.recording.may_be_written_again(event) {
                        self.verdict.uncertain += extra;
                    } else {
                        let labels = receivers
                            .iter()
                            .map(|(index, _)| &*self.recording.sessions[*index].label);
                        let labels = labels.collect::<Vec<_>>().join(", ");
                        self.verdict.doubled += extra;
                        self.verdict
                            .add_problem(|| format!("doubled: {id} is for one, and went to {labels}"));
                    }
                } else if event.may_be_redelivered() && is_unseen && event.is_promised() {
                    let excused = self.may_have_ended_with_a_session(id, event);
                    self.add_missing(id, event, excused, "any session", false);
                }
            }
        }
    }

    /// Whether an event for one session or for a guild may have been in flight to a session that ended while its node
    /// kept running. What a node had not yet written when it died goes to other sessions, or waits for one.
    fn may_have_ended_with_a_session(&self, id: EventId, event: &SentEvent) -> bool {
        self.candidates(event).any(|(index, session)| {
            let Some((end, how)) = session.ended else {
                return false;
            };
            let unnoticed = match how {
                RecordedEnd::Broken => UNNOTICED,
                RecordedEnd::Closed(_) => Duration::ZERO,
                RecordedEnd::NodeDied => return false,
            };
            let seen = &self.seen[index];
            let is_past = |&(_, high): &(u64, u64)| high > id.number;
            let saw_later = seen.spans.get(&id.sender).is_some_and(is_past)
                || event.accepted_at().is_some_and(|at| seen.latest > Some(at));
            end + unnoticed >= event.sent_at && !saw_later
        })
    }

    /// Formats the seconds since the run began.
    pub(super) fn since_begin(&self, time: Instant) -> String {
        format!(
            "{:.3}",
            time.saturating_duration_since(self.recording.began).as_secs_f64()
        )
    }
}

/// Whether an event for several sessions is for this one, which did not send it.
fn is_receiver(session: &V1Session, event: &SentEvent) -> bool {
    match event.recipients {
        Recipients::All(_) => session.is_recipient(event.recipients),
        Recipients::Any(_) => false,
        Recipients::Guild(guild) | Recipients::Watchers(guild) => {
            session.is_recipient(event.recipients) && session.had_reported(guild, event)
        }
    }
}
