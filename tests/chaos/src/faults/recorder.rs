//! Records what the clients and publishers of a run do and see.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::table::EventDraft;
use crate::checker::{
    ClientKind, DiscordSession, FaultVerdict, GuildReport, Loss, PublishOutcome, Receipt, ReceivedDispatch,
    RecordedEnd, RecordedSender, Recording, SenderId, SentEvent, V1Session, check,
};

/// Longer than any run.
const FAR: Duration = Duration::from_secs(86_400);

/// One run of a node, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRun {
    /// The index of the node.
    pub(super) node: usize,
    /// The number of the run, counted from 1.
    pub(super) number: usize,
}

/// The recording of a run, shared by all clients.
#[derive(Debug, Clone)]
pub(super) struct Recorder(Arc<Mutex<RecorderState>>);

#[derive(Debug)]
struct RecorderState {
    recording: Recording,
    /// For each session, the member that it belongs to and the node run it is connected to.
    owners: Vec<(usize, NodeRun)>,
    killed: Vec<NodeRun>,
    last_receipt: Instant,
    /// The shard clients whose session is connected now.
    attached: HashSet<usize>,
    /// How often a Discord session was resumed.
    resumed: u64,
    catch_ups: CatchUps,
    complaints: Vec<String>,
}

/// How often clients caught up on what they had missed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CatchUps {
    /// How often they got everything.
    pub(super) complete: u64,
    /// How often they were told that events are lost.
    pub(super) lost: u64,
}

impl Recorder {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self(Arc::new(Mutex::new(RecorderState {
            recording: Recording::new(began),
            owners: Vec::new(),
            killed: Vec::new(),
            last_receipt: began,
            attached: HashSet::new(),
            resumed: 0,
            catch_ups: CatchUps::default(),
            complaints: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, RecorderState> {
        self.0.lock().expect("no thread panics while it holds the lock")
    }

    /// Returns the seconds since the run began.
    pub(super) fn seconds(&self) -> f64 {
        self.state().recording.began.elapsed().as_secs_f64()
    }

    /// Records that a member has identified at a node, and returns the index of the new session.
    pub(super) fn open_session(&self, member: usize, label: &str, kind: ClientKind, run: NodeRun) -> usize {
        let mut state = self.state();
        let index = state.recording.sessions.len();
        state.owners.push((member, run));
        state.recording.sessions.push(V1Session {
            label: format!("{label} (session {index}, node {} life {})", run.node, run.number),
            kind,
            identified_at: Instant::now(),
            guilds: Vec::new(),
            absences: Vec::new(),
            ended: None,
            received: Vec::new(),
        });
        index
    }

    /// Records the end of a session. The outcome of everything it sent becomes unknown.
    pub(super) fn end_session(&self, index: usize, code: Option<u16>) {
        let mut state = self.state();
        let has_died = state.killed.contains(&state.owners[index].1);
        let ending = match code {
            _ if has_died => RecordedEnd::NodeDied,
            Some(code) => RecordedEnd::Closed(code),
            None => RecordedEnd::Broken,
        };
        let recording = &mut state.recording;
        recording.sessions[index].ended = Some((Instant::now(), ending));
        let own = recording
            .senders
            .iter_mut()
            .filter(|sender| sender.session == Some(index));
        for event in own.flat_map(|sender| &mut sender.events) {
            event.outcome = PublishOutcome::Unknown;
        }
    }

    /// Records that a session received an event.
    pub(super) fn receive(&self, index: usize, sender: SenderId, number: u64, name: &str) {
        let mut state = self.state();
        let at = Instant::now();
        state.last_receipt = at;
        state.recording.sessions[index].received.push(Receipt {
            sender,
            number,
            name: name.into(),
            at,
        });
    }

    /// Records that a shard client received Ready, and returns the index of the new session.
    pub(super) fn open_shard(&self, label: &str, shard: [u32; 2], takes_messages: bool) -> usize {
        let mut state = self.state();
        let index = state.recording.discord.len();
        state.recording.discord.push(DiscordSession {
            label: format!("{label} (session {index})"),
            shard,
            takes_messages,
            ready_at: Instant::now(),
            invalid_at: None,
            dispatches: Vec::new(),
        });
        index
    }

    /// Records that a Discord session received a dispatch.
    pub(super) fn dispatch(&self, index: usize, s: u64, receipt: Option<Receipt>) {
        let mut state = self.state();
        if let Some(receipt) = &receipt {
            state.last_receipt = receipt.at;
        }
        state.recording.discord[index]
            .dispatches
            .push(ReceivedDispatch { s, receipt });
    }

    /// Records that a Discord session was ended by op 9.
    pub(super) fn invalidate(&self, index: usize) {
        self.state().recording.discord[index].invalid_at = Some(Instant::now());
    }

    /// Records that a Discord session was resumed.
    pub(super) fn add_resume(&self) {
        self.state().resumed += 1;
    }

    /// Returns how often a Discord session was resumed.
    pub(super) fn resumed(&self) -> u64 {
        self.state().resumed
    }

    /// Records that a client has caught up, or was told that events are lost.
    pub(super) fn add_catch_up(&self, is_complete: bool) {
        let catch_ups = &mut self.state().catch_ups;
        if is_complete {
            catch_ups.complete += 1;
        } else {
            catch_ups.lost += 1;
        }
    }

    /// Returns how often clients caught up.
    pub(super) fn catch_ups(&self) -> CatchUps {
        self.state().catch_ups
    }

    /// Records whether the session of a shard client is connected.
    pub(super) fn set_attached(&self, client: usize, is_attached: bool) {
        let attached = &mut self.state().attached;
        if is_attached {
            attached.insert(client);
        } else {
            attached.remove(&client);
        }
    }

    /// Whether the session of a shard client is connected.
    pub(super) fn is_attached(&self, client: usize) -> bool {
        self.state().attached.contains(&client)
    }

    /// Allows op 9 for Discord sessions from now on.
    pub(super) fn allow_invalidation(&self) {
        let now = Instant::now();
        self.state().recording.may_invalidate_from.get_or_insert(now);
    }

    /// Records something that must never happen, whatever the fault.
    pub(super) fn add_complaint(&self, what: String) {
        self.state().complaints.push(what);
    }

    /// Returns what must never happen and did.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.state().complaints.clone()
    }

    /// Records that a session is about to report guilds.
    pub(super) fn report(&self, index: usize, guilds: &[u64]) {
        let guilds = guilds.iter().map(|&id| GuildReport { id, since: None });
        self.state().recording.sessions[index].guilds.extend(guilds);
    }

    /// Records that the reports of a session are in force.
    pub(super) fn confirm_reports(&self, index: usize) {
        let now = Instant::now();
        let mut state = self.state();
        let session = &mut state.recording.sessions[index];
        for guild in &mut session.guilds {
            guild.since.get_or_insert(now);
        }
        for absence in &mut session.absences {
            absence.end = now.min(absence.end);
        }
    }

    /// Marks the sessions at these nodes as absent: from now on, until their reports are in force again, the cluster
    /// may consider them dead.
    pub(super) fn mark_absent(&self, nodes: &[usize]) {
        let now = Instant::now();
        let state = &mut *self.state();
        for (session, (_, run)) in state.recording.sessions.iter_mut().zip(&state.owners) {
            if session.ended.is_none() && nodes.contains(&run.node) {
                session.absences.push(now..now + FAR);
            }
        }
    }

    /// Returns the node of some connected bot.
    pub(super) fn node_of_a_bot(&self) -> Option<usize> {
        let state = self.state();
        let mut sessions = state.recording.sessions.iter().zip(&state.owners);
        let bot = sessions.find(|(session, _)| session.kind == ClientKind::Bot && session.ended.is_none());
        bot.map(|(_, (_, run))| run.node)
    }

    /// Records that a node is about to be killed.
    pub(super) fn mark_killed(&self, run: NodeRun) {
        self.state().killed.push(run);
    }

    /// Adds a sender, for a session or for HTTP.
    pub(super) fn open_sender(&self, session: Option<usize>) -> SenderId {
        let mut state = self.state();
        let events = Vec::new();
        state.recording.senders.push(RecordedSender { session, events });
        state.recording.senders.len() - 1
    }

    /// Records that a sender is about to send an event, and returns the event's number.
    pub(super) fn send(&self, sender: SenderId, draft: &EventDraft) -> u64 {
        let mut state = self.state();
        let sender = &mut state.recording.senders[sender];
        let outcome = match sender.session {
            Some(_) => PublishOutcome::Sent,
            None => PublishOutcome::Unknown,
        };
        sender.events.push(SentEvent {
            name: draft.name,
            recipients: draft.recipients,
            reach: draft.reach,
            sent_at: Instant::now(),
            outcome,
            repeated: false,
        });
        sender.events.len() as u64
    }

    /// Records an attempt to send the last event of a sender. `is_open` is true if an earlier attempt may have reached
    /// the log.
    pub(super) fn add_attempt(&self, sender: SenderId, is_open: bool) {
        if let Some(event) = self.state().recording.senders[sender].events.last_mut() {
            if is_open {
                event.repeated = true;
            } else {
                event.sent_at = Instant::now();
            }
        }
    }

    /// Sets the outcome of the last event of a sender.
    pub(super) fn set_outcome(&self, sender: SenderId, outcome: PublishOutcome) {
        if let Some(event) = self.state().recording.senders[sender].events.last_mut() {
            event.outcome = outcome;
        }
    }

    /// Returns the time since any client last received an event.
    pub(super) fn idle_time(&self) -> Duration {
        self.state().last_receipt.elapsed()
    }

    /// Returns the members of `0..members` that have no session, or whose session has a report that is not in force.
    pub(super) fn missing(&self, members: usize) -> Vec<usize> {
        let state = self.state();
        let sessions = state.recording.sessions.iter().zip(&state.owners);
        let is_whole = |session: &V1Session| {
            let in_force = session.guilds.iter().all(|guild| guild.since.is_some());
            session.ended.is_none() && in_force && (session.kind != ClientKind::Bot || !session.guilds.is_empty())
        };
        let whole: Vec<usize> = sessions
            .filter_map(|(session, (member, _))| is_whole(session).then_some(*member))
            .collect();
        (0..members).filter(|member| !whole.contains(member)).collect()
    }

    /// Returns the epoch in which the first event was accepted.
    pub(super) fn first_epoch(&self) -> Option<Arc<str>> {
        let state = self.state();
        let events = state.recording.senders.iter().flat_map(|sender| &sender.events);
        let positions = events.filter_map(|event| match &event.outcome {
            PublishOutcome::Accepted { at, epoch, .. } => Some((*at, epoch)),
            _ => None,
        });
        positions.min_by_key(|(at, _)| *at).map(|(_, epoch)| Arc::clone(epoch))
    }

    /// Records that two servers accepted events from `since` until now.
    pub(super) fn add_split(&self, since: Instant) {
        self.state().recording.splits.push(since..Instant::now());
    }

    /// Sets the losses that the nodes have reported so far, and the periods in which the lost writes were made.
    pub(super) fn set_losses(&self, losses: Vec<Loss>, truncations: Vec<Range<Instant>>) {
        let mut state = self.state();
        state.recording.losses = losses;
        state.recording.truncations = truncations;
    }

    /// Checks what has been recorded so far.
    pub(super) fn verdict(&self) -> FaultVerdict {
        check(&self.state().recording)
    }

    /// Returns the longest time between `from` and `to` in which a member received nothing, connected or not.
    pub(super) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let state = self.state();
        let mut times: HashMap<usize, Vec<Instant>> = HashMap::new();
        for (session, (member, _)) in state.recording.sessions.iter().zip(&state.owners) {
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
