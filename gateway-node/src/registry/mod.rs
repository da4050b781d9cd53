//! The node-local registry: which sessions are connected.
//!
//! There is one registry a node with a shard on every worker. A session and the shard that it registers with share a
//! thread, so registering and delivering are plain calls; everything that crosses threads goes through the [`Registry`]
//! handle: entries through the `feed`, orders through the shards' mailboxes. Nothing here knows a socket or decides
//! who may do what.

mod actor;
mod command;
mod kind;
mod listing;
mod session_counts;
mod session_handle;
mod shard;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::Addr;
use shared::{client_type::ClientTypes, compression::Level, session_id::SessionId};

use self::{
    actor::ShardActor,
    command::{CommandAll, CommandOne, ShardCommand},
    listing::ListSessions,
};
pub use self::{
    command::{EndReason, InjectedFault, SessionCommand, SpreadCommand},
    kind::SessionKind,
    listing::{Listed, Page},
    session_counts::{CountsSnapshot, SessionCounts},
    session_handle::{Registration, SessionHandle, Subscription},
    shard::RegistryShard,
};
use crate::{
    backplane::{Audience, Deliver, Entry, Owner, Position},
    encode::encoded_event::EncodedEvent,
    fanout::delivery_queue::DeliveryQueue,
    guilds::Guilds,
    metrics::Metrics,
    replay::buffer::{ReadFrom, ReplayBuffers, ReplayError, ReplayLimits, ReplayPage},
    resume::LogPage,
};

/// The node's registry, as the other threads see it.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<RegistryInner>,
}

struct RegistryInner {
    delivery_queue: DeliveryQueue,
    buffers: ReplayBuffers,
    counts: SessionCounts,
    level: Level,
    metrics: Arc<Metrics>,
    shards: Mutex<Vec<Addr<ShardActor>>>,
    /// Whether other nodes may order faults.
    allows_faults: AtomicBool,
    /// The time over which those are told to leave who missed something.
    spread: Duration,
}

impl Registry {
    /// A registry for `workers` shards, between which and the log up to `feed_bytes` may wait. `tail` bounds what is kept
    /// for sessions that catch up, `level` says how hard zlib tries. Who misses an event is told so within `spread`.
    pub fn new(
        workers: usize,
        feed_bytes: usize,
        buffer: ReplayLimits,
        level: Level,
        spread: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inner: Arc::new(RegistryInner {
                delivery_queue: DeliveryQueue::new(workers, feed_bytes),
                buffers: ReplayBuffers::new(buffer),
                counts: SessionCounts::default(),
                level,
                metrics,
                shards: Mutex::new(Vec::new()),
                allows_faults: AtomicBool::new(false),
                spread,
            }),
        }
    }

    /// How many sessions there are.
    pub fn counts(&self) -> &SessionCounts {
        &self.inner.counts
    }

    /// Tells every session to leave, each at a random moment within `spread`.
    pub fn end_reason(&self, end_reason: EndReason, spread: Duration) {
        self.command(|| ShardCommand::End { end_reason, spread });
    }

    /// Has the shards look again at which keys are still good.
    pub fn recheck_keys(&self) {
        self.command(|| ShardCommand::RecheckKeys);
    }

    /// Gives the session of an application with this id an order. False where there is none.
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

    /// Gives every session of an application on this node an order. Answers how many those are.
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

    /// Obeys orders of other nodes that are faults.
    pub fn allow_faults(&self) {
        self.inner.allows_faults.store(true, Relaxed);
    }

    /// The entries of a log from there on that Discord sessions may receive, at most `most` of them.
    ///
    /// # Errors
    /// When not all of them are kept here.
    pub fn read(&self, application: &Arc<str>, from: ReadFrom, most: usize) -> Result<ReplayPage, ReplayError> {
        self.inner.buffers.read(application, from, most)
    }

    /// What was read from the log itself, as if it had been read here.
    pub fn page(&self, page: LogPage) -> ReplayPage {
        let prepare = |entry| self.prepare(entry, 0);
        ReplayPage {
            entries: page.entries.into_iter().map(prepare).collect(),
            next: ReadFrom::Position(page.through),
            end: None,
            cut: page.cut,
        }
    }

    /// The sessions of an application on this page.
    pub async fn sessions(&self, application: &Arc<str>, page: Page) -> Vec<Listed> {
        let mut sessions = Vec::new();
        for shard in self.shards() {
            let application = Arc::clone(application);
            sessions.extend(shard.send(ListSessions { application, page }).await.unwrap_or_default());
        }
        page.cut(sessions.into_iter(), |session| session.id)
    }

    /// What `look` sees in the guilds of an application as they are at the end of its log, which is not before `since`;
    /// none when that cannot be told now. It holds up the deliveries of this node meanwhile.
    pub fn guilds<T>(&self, application: &str, since: Option<Position>, look: impl FnOnce(&Guilds) -> T) -> Option<T> {
        self.inner.buffers.guilds(application, since, look)
    }

    fn prepare(&self, entry: Entry, number: u64) -> Arc<EncodedEvent> {
        let RegistryInner { level, metrics, .. } = &*self.inner;
        Arc::new(EncodedEvent::new(entry, number, *level, Arc::clone(metrics)))
    }

    fn shards(&self) -> Vec<Addr<ShardActor>> {
        self.inner.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A full mailbox can only be that of a shard which has got the same kind of order already.
    fn command(&self, command: impl Fn() -> ShardCommand) {
        for shard in self.shards() {
            if let Err(error) = shard.try_send(command()) {
                log::error!("a registry shard takes no orders: {error}");
            }
        }
    }
}

impl Deliver for Registry {
    fn has_room(&self, bytes: usize) -> bool {
        self.inner.delivery_queue.has_room(bytes)
    }

    fn deliver(&self, entry: Entry) {
        self.inner.metrics.entries.inc();
        // First where those read who catch up: what a shard has delivered, they find there.
        let event = self
            .inner
            .buffers
            .push(entry, |entry, number| self.prepare(entry, number));
        self.inner.delivery_queue.push(event);
    }

    fn skip(&self, mut entry: Entry) {
        if entry.discord.is_some() {
            entry.audience = Audience::Types(ClientTypes::NONE);
            self.deliver(entry);
        } else {
            // Nobody receives it, but what comes next stands behind it.
            self.inner
                .buffers
                .push(entry, |entry, number| self.prepare(entry, number));
        }
    }

    fn reset(&self, application: &Arc<str>, from: Option<Position>) {
        self.inner.buffers.follow(application, from);
    }

    fn guilds(&self, application: &Arc<str>, guilds: Option<Guilds>) {
        self.inner.buffers.set_guilds(application, guilds);
    }

    fn no_receiver(&self, _: &str, _: &str) {
        self.inner.metrics.entries_without_receiver.inc();
    }

    fn lost(&self, _: &str, entries: u64) {
        self.inner.metrics.entries_lost.inc_by(entries);
    }

    fn gap(&self, application: &Arc<str>) {
        self.command(|| ShardCommand::Missed {
            application: Arc::clone(application),
            spread: self.inner.spread,
            is_for_all: true,
        });
    }

    fn diverged(&self, application: &Arc<str>) {
        self.inner.delivery_queue.diverge(Arc::clone(application));
    }

    fn rolled_back(&self, application: &Arc<str>) {
        self.command(|| ShardCommand::Missed {
            application: Arc::clone(application),
            spread: Duration::ZERO,
            is_for_all: false,
        });
    }

    fn command_received(&self, application: &Arc<str>, command: &str) {
        let spread_command = SpreadCommand::read(command)
            .filter(|spread_command| spread_command.command.is_ordinary() || self.inner.allows_faults.load(Relaxed));
        let Some(spread_command) = spread_command else {
            log::warn!(application, command; "an order of another node is not obeyed");
            return;
        };
        log::info!(application, command; "every session ordered");
        for shard in self.shards() {
            let application = Arc::clone(application);
            if let Err(error) = shard.try_send(CommandAll {
                application,
                spread_command,
            }) {
                log::error!("a registry shard takes no orders: {error}");
            }
        }
    }

    fn superseded(&self, owner: &Owner) {
        self.command(|| ShardCommand::Superseded(owner.clone()));
    }
}
