//! Where everybody writes down what they did and saw.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::table::Draft;
use crate::checker::{
    DiscordSession, Dispatch, Ending, Event, Guild, Kind, Loss, Outcome, Receipt, Record, Sender, SenderId, Session,
    Verdict, judge,
};

/// Long after the end of every run.
const FAR: Duration = Duration::from_secs(86_400);

/// One life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// Which node.
    pub(super) node: usize,
    /// How often it has been started before.
    pub(super) number: usize,
}

/// The record of a run, shared by all who write.
#[derive(Debug, Clone)]
pub(super) struct Book(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    record: Record,
    /// For each session, whose it is and where.
    places: Vec<(usize, Life)>,
    killed: Vec<Life>,
    last_receipt: Instant,
    /// The clients of Discord's protocol that have their session on a connection now.
    attached: HashSet<usize>,
    /// How often a Discord session was resumed.
    resumed: u64,
    complaints: Vec<String>,
}

impl Book {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self(Arc::new(Mutex::new(Pages {
            record: Record::new(began),
            places: Vec::new(),
            killed: Vec::new(),
            last_receipt: began,
            attached: HashSet::new(),
            resumed: 0,
            complaints: Vec::new(),
        })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("nobody panics with the book open")
    }

    /// Seconds since the run began.
    pub(super) fn seconds(&self) -> f64 {
        self.pages().record.began.elapsed().as_secs_f64()
    }

    /// A member has identified at a node.
    pub(super) fn open_session(&self, member: usize, label: &str, kind: Kind, life: Life) -> usize {
        let mut pages = self.pages();
        let index = pages.record.sessions.len();
        pages.places.push((member, life));
        pages.record.sessions.push(Session {
            label: format!("{label} (session {index}, node {} life {})", life.node, life.number),
            kind,
            identified_at: Instant::now(),
            guilds: Vec::new(),
            absences: Vec::new(),
            ended: None,
            received: Vec::new(),
        });
        index
    }

    /// A session is over, and nobody knows what became of what it sent.
    pub(super) fn end_session(&self, index: usize, code: Option<u16>) {
        let mut pages = self.pages();
        let has_died = pages.killed.contains(&pages.places[index].1);
        let ending = match code {
            _ if has_died => Ending::NodeDied,
            Some(code) => Ending::Closed(code),
            None => Ending::Broken,
        };
        let record = &mut pages.record;
        record.sessions[index].ended = Some((Instant::now(), ending));
        let own = record.senders.iter_mut().filter(|sender| sender.session == Some(index));
        for event in own.flat_map(|sender| &mut sender.events) {
            event.outcome = Outcome::Unknown;
        }
    }

    /// A session received an event.
    pub(super) fn receive(&self, index: usize, sender: SenderId, number: u64, name: &str) {
        let mut pages = self.pages();
        let at = Instant::now();
        pages.last_receipt = at;
        pages.record.sessions[index].received.push(Receipt {
            sender,
            number,
            name: name.into(),
            at,
        });
    }

    /// A client of Discord's protocol got Ready.
    pub(super) fn open_shard(&self, label: &str, shard: [u32; 2], takes_messages: bool) -> usize {
        let mut pages = self.pages();
        let index = pages.record.discord.len();
        pages.record.discord.push(DiscordSession {
            label: format!("{label} (session {index})"),
            shard,
            takes_messages,
            ready_at: Instant::now(),
            invalid_at: None,
            dispatches: Vec::new(),
        });
        index
    }

    /// A Discord session received a dispatch.
    pub(super) fn dispatch(&self, index: usize, s: u64, receipt: Option<Receipt>) {
        let mut pages = self.pages();
        if let Some(receipt) = &receipt {
            pages.last_receipt = receipt.at;
        }
        pages.record.discord[index].dispatches.push(Dispatch { s, receipt });
    }

    /// A client was told that its session is over.
    pub(super) fn is_invalid(&self, index: usize) {
        self.pages().record.discord[index].invalid_at = Some(Instant::now());
    }

    /// A client went on with its session.
    pub(super) fn is_resumed(&self) {
        self.pages().resumed += 1;
    }

    /// How often that was.
    pub(super) fn resumed(&self) -> u64 {
        self.pages().resumed
    }

    /// Whether a client of Discord's protocol has its session on a connection.
    pub(super) fn is_attached(&self, client: usize, is_attached: bool) {
        let attached = &mut self.pages().attached;
        if is_attached {
            attached.insert(client);
        } else {
            attached.remove(&client);
        }
    }

    /// The same, asked.
    pub(super) fn has_attached(&self, client: usize) -> bool {
        self.pages().attached.contains(&client)
    }

    /// From now on Discord sessions may be told that they are over.
    pub(super) fn may_invalidate(&self) {
        let now = Instant::now();
        self.pages().record.may_invalidate_from.get_or_insert(now);
    }

    /// Something happened that may not, whatever goes wrong.
    pub(super) fn complain(&self, what: String) {
        self.pages().complaints.push(what);
    }

    /// Everything of that kind.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.pages().complaints.clone()
    }

    /// A session is about to report guilds.
    pub(super) fn report(&self, index: usize, guilds: &[u64]) {
        let guilds = guilds.iter().map(|&id| Guild { id, since: None });
        self.pages().record.sessions[index].guilds.extend(guilds);
    }

    /// What a session reported is in force.
    pub(super) fn is_in_force(&self, index: usize) {
        let now = Instant::now();
        let mut pages = self.pages();
        let session = &mut pages.record.sessions[index];
        for guild in &mut session.guilds {
            guild.since.get_or_insert(now);
        }
        for absence in &mut session.absences {
            absence.end = now.min(absence.end);
        }
    }

    /// From now on, until their reports are in force again, the cluster may take for dead who is at these nodes.
    pub(super) fn are_absent(&self, nodes: &[usize]) {
        let now = Instant::now();
        let pages = &mut *self.pages();
        for (session, (_, life)) in pages.record.sessions.iter_mut().zip(&pages.places) {
            if session.ended.is_none() && nodes.contains(&life.node) {
                session.absences.push(now..now + FAR);
            }
        }
    }

    /// The node of a bot that is connected.
    pub(super) fn node_of_a_bot(&self) -> Option<usize> {
        let pages = self.pages();
        let mut sessions = pages.record.sessions.iter().zip(&pages.places);
        let bot = sessions.find(|(session, _)| session.kind == Kind::Bot && session.ended.is_none());
        bot.map(|(_, (_, life))| life.node)
    }

    /// A node is about to be killed.
    pub(super) fn is_killed(&self, life: Life) {
        self.pages().killed.push(life);
    }

    /// Somebody new who sends, from a session or over HTTP.
    pub(super) fn open_sender(&self, session: Option<usize>) -> SenderId {
        let mut pages = self.pages();
        let events = Vec::new();
        pages.record.senders.push(Sender { session, events });
        pages.record.senders.len() - 1
    }

    /// A sender is about to send an event; its number.
    pub(super) fn send(&self, sender: SenderId, draft: &Draft) -> u64 {
        let mut pages = self.pages();
        let sender = &mut pages.record.senders[sender];
        let outcome = match sender.session {
            Some(_) => Outcome::Sent,
            None => Outcome::Unknown,
        };
        sender.events.push(Event {
            name: draft.name,
            audience: draft.audience,
            reach: draft.reach,
            sent_at: Instant::now(),
            outcome,
            repeated: false,
        });
        sender.events.len() as u64
    }

    /// The last event of a sender is about to be sent, again or not. `is_open` if an attempt before can have reached the
    /// log.
    pub(super) fn attempt(&self, sender: SenderId, is_open: bool) {
        if let Some(event) = self.pages().record.senders[sender].events.last_mut() {
            if is_open {
                event.repeated = true;
            } else {
                event.sent_at = Instant::now();
            }
        }
    }

    /// What became of the last event of a sender.
    pub(super) fn settle(&self, sender: SenderId, outcome: Outcome) {
        if let Some(event) = self.pages().record.senders[sender].events.last_mut() {
            event.outcome = outcome;
        }
    }

    /// How long nobody has received anything.
    pub(super) fn quiet(&self) -> Duration {
        self.pages().last_receipt.elapsed()
    }

    /// Of `members`, those who have no session now, or one whose report is not in force.
    pub(super) fn missing(&self, members: usize) -> Vec<usize> {
        let pages = self.pages();
        let sessions = pages.record.sessions.iter().zip(&pages.places);
        let is_whole = |session: &Session| {
            let in_force = session.guilds.iter().all(|guild| guild.since.is_some());
            session.ended.is_none() && in_force && (session.kind != Kind::Bot || !session.guilds.is_empty())
        };
        let whole: Vec<usize> = sessions
            .filter_map(|(session, (member, _))| is_whole(session).then_some(*member))
            .collect();
        (0..members).filter(|member| !whole.contains(member)).collect()
    }

    /// The epoch that the first event was accepted in.
    pub(super) fn first_epoch(&self) -> Option<Arc<str>> {
        let pages = self.pages();
        let events = pages.record.senders.iter().flat_map(|sender| &sender.events);
        let positions = events.filter_map(|event| match &event.outcome {
            Outcome::Accepted { at, epoch, .. } => Some((*at, epoch)),
            _ => None,
        });
        positions.min_by_key(|(at, _)| *at).map(|(_, epoch)| Arc::clone(epoch))
    }

    /// Two servers took events at once, from `since` to now.
    pub(super) fn was_split(&self, since: Instant) {
        self.pages().record.splits.push(since..Instant::now());
    }

    /// What the nodes have reported as lost so far, and when it was written.
    pub(super) fn are_gone(&self, losses: Vec<Loss>, cuts: Vec<Range<Instant>>) {
        let mut pages = self.pages();
        pages.record.losses = losses;
        pages.record.cuts = cuts;
    }

    /// The judgement of what has been written so far.
    pub(super) fn verdict(&self) -> Verdict {
        judge(&self.pages().record)
    }

    /// The longest time between `from` and `to` in which a member received nothing, whether or not it was connected.
    pub(super) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let pages = self.pages();
        let mut times: HashMap<usize, Vec<Instant>> = HashMap::new();
        for (session, (member, _)) in pages.record.sessions.iter().zip(&pages.places) {
            let received = session.received.iter().map(|receipt| receipt.at);
            let known = times.entry(*member).or_default();
            known.extend(received.filter(|at| (from..to).contains(at)));
        }
        let gaps = times.into_values().filter_map(|mut times| {
            times.extend([from, to]);
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max()
        });
        gaps.max().unwrap_or_default()
    }
}
