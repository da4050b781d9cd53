//! The node-local registry: which sessions are connected.
//!
//! A node has one registry, with a shard on every worker. A session and its shard share a thread, so registering and
//! delivering are plain calls. Everything that crosses threads goes through the [`Registry`] handle: entries through
//! the `DeliveryQueue`, commands through the shards' mailboxes. Nothing here knows sockets or checks permissions.

mod actor;
mod command;
mod details;
mod kind;
mod listing;
mod question_queue;
mod requests;
mod session_counts;
mod session_handle;
mod shard;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::Addr;
use parking_lot::Mutex;
use shared::{compression::Level, discord::Shard, job::JobId, session_id::SessionId, v1::Receipt};

use self::{
    actor::ShardActor,
    command::{CommandAll, CommandOne, Ping, ShardCommand},
    listing::{ListSessions, described},
};
pub use self::{
    command::{EndReason, InjectedFault, SessionCommand, SessionMessage, SpreadCommand},
    details::SessionDetails,
    kind::SessionKind,
    listing::{ListedSession, Page, SessionFilter},
    question_queue::{QUESTION, QuestionQueue},
    session_counts::{CountsSnapshot, SessionCounts},
    session_handle::{Registration, SessionHandle, Subscription, V1Subscription},
    shard::RegistryShard,
};
pub use crate::fanout::{member::Replayed, receipts::OpenRequest};
use crate::{
    backplane::{Deliver, Entry, Owner, Position, Reply},
    encode::encoded_event::EncodedEvent,
    fanout::delivery_queue::DeliveryQueue,
    guilds::Guilds,
    metrics::{Metrics, ReplayMoment},
    replay::{ReadFrom, ReplayError, ReplayLimits, ReplayPage, buffers::ReplayBuffers},
    requests::PendingReplies,
    resume::LogPage,
};

/// A handle to the node's registry, for any thread.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<RegistryInner>,
}

struct RegistryInner {
    delivery_queue: DeliveryQueue,
    replay: ReplayBuffers,
    pending_replies: PendingReplies,
    /// How many requests were given to a session of this node, or could be given to none.
    requests_given: AtomicU64,
    counts: SessionCounts,
    level: Level,
    metrics: Arc<Metrics>,
    /// The shards that have started, by index.
    shards: Mutex<BTreeMap<usize, Addr<ShardActor>>>,
    /// Questions of this node and others about its sessions, until they are answered.
    questions: QuestionQueue,
    /// Whether fault injection commands of other nodes are carried out.
    allows_faults: AtomicBool,
    /// The period over which sessions that missed events are told to leave.
    spread: Duration,
}

impl Registry {
    /// Creates a registry for `workers` shards. Up to `feed_bytes` of entries may wait between the log and the shards.
    /// `replay` bounds the history for sessions that catch up, `level` is the zlib compression level. Sessions that miss
    /// an event are told to leave within `spread`.
    pub fn new(
        workers: usize,
        feed_bytes: usize,
        replay: ReplayLimits,
        level: Level,
        spread: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inner: Arc::new(RegistryInner {
                delivery_queue: DeliveryQueue::new(workers, feed_bytes),
                replay: ReplayBuffers::new(replay),
                pending_replies: PendingReplies::default(),
                requests_given: AtomicU64::new(0),
                counts: SessionCounts::default(),
                level,
                metrics,
                shards: Mutex::default(),
                questions: QuestionQueue::default(),
                allows_faults: AtomicBool::new(false),
                spread,
            }),
        }
    }

    /// Returns the session counts.
    pub fn counts(&self) -> &SessionCounts {
        &self.inner.counts
    }

    /// Tells every session to leave, each at a random moment within `spread`.
    pub fn end_reason(&self, end_reason: EndReason, spread: Duration) {
        self.command(|| ShardCommand::End { end_reason, spread });
    }

    /// Makes the shards check which keys are still valid.
    pub fn recheck_keys(&self) {
        self.command(|| ShardCommand::RecheckKeys);
    }

    /// Sends a command to one session of an application. Returns `false` if the node has no such session.
    pub async fn command_one(&self, application: &Arc<str>, id: SessionId, command: SessionCommand) -> bool {
        let shards = self.shards();
        for shard in &shards {
            let command_one = CommandOne {
                application: Arc::clone(application),
                id,
                command,
            };
            if shard.send(command_one).await.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Sends a command to every session of an application on this node. Returns how many sessions those are.
    pub async fn command_all(&self, application: &Arc<str>, spread_command: SpreadCommand) -> usize {
        let mut count = 0;
        for shard in self.shards() {
            let application = Arc::clone(application);
            count += shard
                .send(CommandAll {
                    application,
                    spread_command,
                })
                .await
                .unwrap_or(0);
        }
        count
    }

    /// Returns the questions about the sessions of this node that wait for an answer.
    pub fn questions(&self) -> &QuestionQueue {
        &self.inner.questions
    }

    /// Returns whether fault injection commands of other nodes are carried out.
    pub fn allows_faults(&self) -> bool {
        self.inner.allows_faults.load(Relaxed)
    }

    /// Asks every worker for an answer. Returns whether all of them run; waits for those that are busy.
    pub async fn answers(&self) -> bool {
        let answers = self
            .shards()
            .into_iter()
            .map(|shard| async move { shard.send(Ping).await.is_ok() });
        futures_util::future::join_all(answers)
            .await
            .into_iter()
            .all(|is_alive| is_alive)
    }

    /// Allows fault injection commands of other nodes.
    pub fn allow_faults(&self) {
        self.inner.allows_faults.store(true, Relaxed);
    }

    /// Returns up to `most` entries of a log after `from`.
    ///
    /// # Errors
    /// Fails if the history of this node does not have all of them.
    pub fn read(&self, application: &Arc<str>, from: ReadFrom, most: usize) -> Result<ReplayPage, ReplayError> {
        self.inner.replay.read(application, from, most)
    }

    /// Ensures that a log has a replay buffer. If no entry has arrived on this node yet, the next one comes after
    /// `position`.
    pub fn begin_replay(&self, application: &Arc<str>, position: Position) {
        self.inner.replay.begin(application, position);
    }

    /// Returns the size of the replay buffer of a log, and what was dropped from it.
    pub fn replay_moment(&self, application: &str) -> ReplayMoment {
        self.inner.replay.moment(application)
    }

    /// Returns the bytes of entries between the log and the shards.
    pub fn queued_bytes(&self) -> usize {
        self.inner.delivery_queue.bytes()
    }

    /// Returns the position before the oldest entry in the replay buffer of a log, if it has one.
    pub fn replay_floor(&self, application: &str) -> Option<Position> {
        self.inner.replay.floor(application)
    }

    /// Completes when any replay buffer has changed. To be called before the read whose failure is waited out.
    pub fn replay_changed(&self) -> impl Future<Output = ()> {
        self.inner.replay.changed()
    }

    /// Converts a page that was read from the log itself, as if it came from the history of this node.
    pub fn page(&self, page: LogPage) -> ReplayPage {
        let prepare = |entry| self.prepare(entry, 0);
        ReplayPage {
            entries: page.entries.into_iter().map(prepare).collect(),
            next: ReadFrom::Position(page.through),
            end: None,
            cut: page.cut,
        }
    }

    /// Returns one page of those sessions of an application on this node that `filter` admits, with what they are
    /// doing. The node's name is left empty.
    pub async fn sessions(&self, application: &Arc<str>, page: Page, filter: &SessionFilter) -> Vec<ListedSession> {
        let mut sessions = Vec::new();
        for shard in self.shards() {
            let list = ListSessions {
                application: Arc::clone(application),
                page,
                filter: filter.clone(),
            };
            sessions.extend(shard.send(list).await.unwrap_or_default());
        }
        let mut sessions = described(page.cut(sessions, |session| session.id)).await;
        let mut known = BTreeMap::new();
        for details in sessions.iter_mut().filter_map(|session| session.details.as_mut()) {
            if let Some(shard) = details.shard {
                let count = known
                    .entry(shard)
                    .or_insert_with(|| self.guild_count(application, shard));
                details.guilds = *count;
            }
        }
        sessions
    }

    /// Returns the number of guilds of a Discord shard, or 0 while the node does not know them.
    fn guild_count(&self, application: &str, [id, count]: [u32; 2]) -> u64 {
        let shard = Shard { id, count };
        self.guilds(application, None, |guilds| guilds.of_shard(shard).len())
            .map_or(0, |count| count as u64)
    }

    /// Calls `look` with the guilds of an application as of the end of its log. Returns `None` if this node does not
    /// know them now or has not reached `since`. Deliveries of this node wait while `look` runs.
    pub fn guilds<T>(&self, application: &str, since: Option<Position>, look: impl FnOnce(&Guilds) -> T) -> Option<T> {
        self.inner.replay.guilds(application, since, look)
    }

    /// Returns the replies that this node waits for.
    pub fn pending_replies(&self) -> PendingReplies {
        self.inner.pending_replies.clone()
    }

    fn prepare(&self, entry: Entry, number: u64) -> Arc<EncodedEvent> {
        Arc::new(self.encoded_event(entry, number))
    }

    fn encoded_event(&self, entry: Entry, number: u64) -> EncodedEvent {
        let RegistryInner { level, metrics, .. } = &*self.inner;
        EncodedEvent::new(entry, number, *level, Arc::clone(metrics))
    }

    /// Passes an entry to the replay buffer and to the shards, which have to know how far they are, whoever receives it.
    fn take(&self, entry: Entry, is_skipped: bool) {
        let counts = &self.inner.counts;
        let is_received = counts.can_receive(&entry, is_skipped);
        let encode = |entry, number| {
            let event = self.encoded_event(entry, number);
            Arc::new(if is_skipped { event.skipped() } else { event })
        };
        // History first: whatever a shard has delivered, a session that catches up must find there.
        let event = self.inner.replay.push(entry, is_received, encode);
        let can_wait = |event: &EncodedEvent| !counts.can_receive(&event.entry, event.is_skipped);
        self.inner.delivery_queue.push(event, can_wait);
    }

    fn shards(&self) -> Vec<Addr<ShardActor>> {
        self.inner.shards.lock().values().cloned().collect()
    }

    /// Sends a command to every shard. A full mailbox can only belong to a shard that already has a command of this
    /// kind.
    fn command(&self, command: impl Fn() -> ShardCommand) {
        for shard in self.shards() {
            if let Err(error) = shard.try_send(command()) {
                log::error!("a registry shard accepts no commands: {error}");
            }
        }
    }
}

/// Writes a log line for an entry that belongs to a trace.
fn log_traced(entry: &Entry) {
    if let Some(trace) = &entry.trace {
        log::debug!(
            event:% = entry.name, application:% = entry.application, position:% = entry.position, traceparent:% = trace;
            "event taken from the log"
        );
    }
}

impl Deliver for Registry {
    fn has_room(&self, bytes: usize) -> bool {
        self.inner.delivery_queue.has_room(bytes)
    }

    fn wait_for_room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.inner.delivery_queue.wait_for_room(bytes))
    }

    fn deliver(&self, entry: Entry) {
        self.inner.metrics.entries.inc();
        log_traced(&entry);
        self.take(entry, false);
    }

    fn skip(&self, entry: Entry) {
        log_traced(&entry);
        if entry.discord.is_some() {
            self.inner.metrics.entries.inc();
        }
        // Sessions that catch up may have missed it, and the following entries come after it in the log.
        self.take(entry, true);
    }

    fn reset(&self, application: &Arc<str>, from: Option<Position>) {
        self.inner.replay.follow(application, from);
    }

    fn guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        self.inner.replay.set_guilds(application, guilds);
    }

    fn accepted(&self, application: &Arc<str>, events: usize, took: Duration) {
        self.inner.metrics.accepted(application, events, took);
    }

    fn connected(&self) {
        self.inner.metrics.backplane_connections.inc();
    }

    fn unavailable(&self) {
        self.inner.metrics.backplane_problems.inc();
    }

    fn no_receiver(&self, _: &str, _: &str) {
        self.inner.metrics.entries_without_receiver.inc();
    }

    fn lost(&self, _: &str, entries: u64) {
        self.inner.metrics.entries_lost.inc_by(entries);
    }

    fn gap(&self, application: &Arc<str>) {
        // In its place among the entries, so that no session is told a position behind the gap.
        self.inner.delivery_queue.gap(Arc::clone(application));
    }

    fn rolled_back(&self, application: &Arc<str>) {
        self.command(|| ShardCommand::Missed {
            application: Arc::clone(application),
            spread: Duration::ZERO,
        });
    }

    fn command_received(&self, application: &Arc<str>, command: &str) {
        if let Some(text) = command.strip_prefix(QUESTION) {
            self.inner.questions.push(application, text);
            return;
        }
        let spread_command = SpreadCommand::read(command)
            .filter(|spread_command| spread_command.command.is_ordinary() || self.inner.allows_faults.load(Relaxed));
        let Some(spread_command) = spread_command else {
            log::warn!(application, command; "a command of another node was ignored");
            return;
        };
        log::info!(application, command; "every session gets a command of another node");
        for shard in self.shards() {
            let application = Arc::clone(application);
            if let Err(error) = shard.try_send(CommandAll {
                application,
                spread_command,
            }) {
                log::error!("a registry shard accepts no commands: {error}");
            }
        }
    }

    fn undeliverable(&self, application: &str, job: JobId, event: &str) {
        log::warn!(application, job:%, event; "a job is undeliverable: its attempts are used up");
        self.inner.metrics.jobs_undeliverable.inc();
    }

    fn replied(&self, receipt: Receipt, reply: Reply) {
        self.inner.pending_replies.settle(receipt, reply);
    }

    fn reply_dropped(&self) {
        self.inner.metrics.replies_dropped.inc();
    }

    fn superseded(&self, owner: &Owner) {
        self.command(|| ShardCommand::Superseded(owner.clone()));
    }
}
