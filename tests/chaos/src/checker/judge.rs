//! The rules.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    record::{Audience, Ending, Event, Id, Outcome, Receipt, Record, SenderId, Session},
    verdict::Verdict,
};

/// How long a node may take for alive a session whose connection broke without its doing.
const UNNOTICED: Duration = Duration::from_secs(15);

/// Judges a run.
pub fn judge(record: &Record) -> Verdict {
    let mut judge = Judge {
        record,
        verdict: Verdict::default(),
        seen: Vec::new(),
        holders: HashMap::new(),
    };
    for (index, session) in record.sessions.iter().enumerate() {
        judge.walk(index, session);
    }
    judge.positions();
    for (index, session) in record.sessions.iter().enumerate() {
        judge.holes(index, session);
    }
    judge.each_event();
    judge.discord_sessions();
    judge.verdict
}

pub(super) struct Judge<'r> {
    pub(super) record: &'r Record,
    pub(super) verdict: Verdict,
    /// What each session saw.
    seen: Vec<Seen>,
    /// The sessions that saw an event, and when they did for the first time.
    holders: HashMap<Id, Vec<(usize, Instant)>>,
}

/// What one session saw.
#[derive(Default)]
struct Seen {
    events: HashSet<Id>,
    /// The lowest and the highest number of each sender, without events for one session or for a guild: these may be
    /// appended again.
    spans: HashMap<SenderId, (u64, u64)>,
    /// When the event was sent, of those that it saw, that was sent last. What was accepted before that stands before it
    /// in the log.
    latest: Option<Instant>,
}

impl<'r> Judge<'r> {
    /// Reads what a session received, in order.
    fn walk(&mut self, index: usize, session: &Session) {
        let mut seen = Seen::default();
        let mut highest: HashMap<SenderId, u64> = HashMap::new();
        self.verdict.deliveries += session.received.len() as u64;
        for receipt in &session.received {
            let id = receipt.id();
            let time = self.since_begin(receipt.at);
            let label = &session.label;
            let Some(event) = self.permitted(index, session, receipt) else {
                self.verdict.unauthorised += 1;
                self.verdict
                    .tell(|| format!("unauthorised: {id} ({}) at {label}, {time} s", receipt.name));
                continue;
            };
            if !seen.events.insert(id) {
                if self.record.may_be_forgotten(event) {
                    self.verdict.uncertain += 1;
                    continue;
                }
                self.verdict.doubled += 1;
                self.verdict.tell(|| format!("doubled: {id} at {label}, {time} s"));
                continue;
            }
            self.holders.entry(id).or_default().push((index, receipt.at));
            let before = highest.entry(id.sender).or_default();
            if id.number > *before {
                *before = id.number;
            } else if !(event.may_be_given_back() && self.may_be_appended_again(event, receipt.at)) {
                let before = *before;
                self.verdict.reordered += 1;
                self.verdict
                    .tell(|| format!("reordered: {id} after event {before} at {label}, {time} s"));
            }
            if !event.may_be_given_back() {
                let (low, high) = seen.spans.entry(id.sender).or_insert((id.number, id.number));
                *low = id.number.min(*low);
                *high = id.number.max(*high);
                seen.latest = seen.latest.max(Some(event.sent_at));
            }
        }
        self.seen.push(seen);
    }

    /// The event, if this session may have it.
    fn permitted(&self, index: usize, session: &Session, receipt: &Receipt) -> Option<&'r Event> {
        let event = self.record.event(receipt.sender, receipt.number)?;
        let is_own = self.record.senders[receipt.sender].session == Some(index);
        let is_right = session.is_in(event.audience) && *receipt.name == *event.name;
        (is_right && !is_own && !event.is_refused()).then_some(event)
    }

    /// Whether an event may have been given back by a session that ended, or was taken for dead, before `at`.
    fn may_be_appended_again(&self, event: &Event, at: Instant) -> bool {
        self.candidates(event).any(|(_, session)| {
            let has_ended = session.ended.is_some_and(|(end, _)| end < at);
            has_ended || session.absences.iter().any(|absence| absence.start < at)
        })
    }

    /// The sessions that an event for one session, or for a guild, can have been for.
    fn candidates(&self, event: &Event) -> impl Iterator<Item = (usize, &'r Session)> {
        let sessions = self.record.sessions.iter().enumerate();
        sessions.filter(|(_, session)| {
            let is_early = event.accepted_at().is_none_or(|at| session.identified_at < at);
            is_early && session.is_in(event.audience)
        })
    }

    /// No two events have one place in the log, and a sender's places go up as long as the log lives.
    fn positions(&mut self) {
        let mut places = HashMap::new();
        for (sender, events) in self.record.senders.iter().enumerate() {
            let mut last: Option<(&_, &u64)> = None;
            for (number, event) in (1..).zip(&events.events) {
                let Outcome::Accepted { offset, epoch, .. } = &event.outcome else {
                    continue;
                };
                let id = Id { sender, number };
                match places.entry((epoch, offset)) {
                    Entry::Occupied(other) => {
                        let other: &Id = other.get();
                        self.verdict.doubled += 1;
                        self.verdict
                            .tell(|| format!("doubled: {id} and {other} have offset {offset} of epoch {epoch}"));
                    }
                    Entry::Vacant(place) => {
                        place.insert(id);
                    }
                }
                if last.is_some_and(|(known, last)| known == epoch && last > offset) {
                    self.verdict.reordered += 1;
                    self.verdict
                        .tell(|| format!("reordered: {id} has offset {offset}, less than the event before it"));
                }
                last = Some((epoch, offset));
            }
        }
    }

    /// Looks for what a session should have had.
    fn holes(&mut self, index: usize, session: &Session) {
        for (sender, events) in self.record.senders.iter().enumerate() {
            if events.session == Some(index) {
                continue;
            }
            let span = self.seen[index].spans.get(&sender).copied();
            for (number, event) in (1..).zip(&events.events) {
                let id = Id { sender, number };
                // The end of what was on its way to a session that ended is nobody's fault.
                let is_between = span.is_some_and(|(low, high)| low < number && number < high);
                let is_after_welcome = session.ended.is_none() && session.identified_at < event.sent_at;
                let is_due = event.is_promised() && (is_between || is_after_welcome);
                if is_due && is_receiver(session, event) && !self.seen[index].events.contains(&id) {
                    let is_told = session.ended.is_some() && self.record.was_split(event);
                    let excused =
                        is_told || (matches!(event.audience, Audience::Guild(_)) && session.was_absent(event));
                    self.missing(id, event, excused, &session.label, session.ended.is_none());
                }
            }
        }
    }

    /// Notes what was not received at `place`; `stayed` if nobody there was told to connect again.
    pub(super) fn missing(&mut self, id: Id, event: &Event, excused: bool, place: &str, stayed: bool) {
        let sent = self.since_begin(event.sent_at);
        let position = match &event.outcome {
            Outcome::Accepted { offset, epoch, .. } => format!(", offset {offset} of epoch {epoch}"),
            _ => String::new(),
        };
        let told = |word: &str| format!("{word}: {id} ({}, sent at {sent} s{position}) at {place}", event.name);
        if self.record.is_gone(event) {
            self.verdict.gone += 1;
            if stayed {
                self.verdict.silent += 1;
                self.verdict.tell(|| told("gone in silence"));
            }
        } else if excused {
            self.verdict.uncertain += 1;
        } else {
            self.verdict.lost += 1;
            self.verdict.tell(|| told("lost"));
        }
    }

    /// What can only be said over all sessions.
    fn each_event(&mut self) {
        for (sender, events) in self.record.senders.iter().enumerate() {
            for (number, event) in (1..).zip(&events.events) {
                let id = Id { sender, number };
                let holders = self.holders.get(&id).map_or(&[][..], Vec::as_slice);
                let is_unseen = holders.is_empty();
                self.verdict.accepted += u64::from(event.is_promised());
                self.verdict.uncertain += u64::from(is_unseen && event.outcome == Outcome::Unknown);
                if event.is_for_one() && holders.len() > 1 {
                    let extra = holders.len() as u64 - 1;
                    // Nobody could tell any more that it had been written.
                    let died = |&(index, at): &(usize, Instant)| {
                        let ended = self.record.sessions[index].ended;
                        ended.is_some_and(|(end, how)| how == Ending::NodeDied && end >= at)
                    };
                    if holders.iter().any(died) || self.record.may_be_written_again(event) {
                        self.verdict.uncertain += extra;
                    } else {
                        let labels = holders.iter().map(|(index, _)| &*self.record.sessions[*index].label);
                        let labels = labels.collect::<Vec<_>>().join(", ");
                        self.verdict.doubled += extra;
                        self.verdict
                            .tell(|| format!("doubled: {id} is for one, and went to {labels}"));
                    }
                } else if event.may_be_given_back() && is_unseen && event.is_promised() {
                    let excused = self.may_have_ended_with_a_session(id, event);
                    self.missing(id, event, excused, "any session", false);
                }
            }
        }
    }

    /// Whether an event for one session or for a guild can have been on its way to a session that ended while its node
    /// went on. What a node had not written when it died goes to others, or waits for one.
    fn may_have_ended_with_a_session(&self, id: Id, event: &Event) -> bool {
        self.candidates(event).any(|(index, session)| {
            let Some((end, how)) = session.ended else {
                return false;
            };
            let unnoticed = match how {
                Ending::Broken => UNNOTICED,
                Ending::Closed(_) => Duration::ZERO,
                Ending::NodeDied => return false,
            };
            let seen = &self.seen[index];
            let is_past = |&(_, high): &(u64, u64)| high > id.number;
            let saw_later = seen.spans.get(&id.sender).is_some_and(is_past)
                || event.accepted_at().is_some_and(|at| seen.latest > Some(at));
            end + unnoticed >= event.sent_at && !saw_later
        })
    }

    /// Seconds since the run began, as people read them.
    pub(super) fn since_begin(&self, time: Instant) -> String {
        format!("{:.3}", time.saturating_duration_since(self.record.began).as_secs_f64())
    }
}

/// Whether an event for many is for this session, whose own it is not.
fn is_receiver(session: &Session, event: &Event) -> bool {
    match event.audience {
        Audience::All(_) => session.is_in(event.audience),
        Audience::Any(_) => false,
        Audience::Guild(guild) => session.had_reported(guild, event),
    }
}
