//! One log, followed: messages of its channel in their order, and what is missing among them from the log itself.
//!
//! Pub/sub is the fast path and is trusted with nothing. An entry is delivered when it stands right behind the last one;
//! one that came before is dropped, and before one that comes too early the missing ones are read. That the last one of
//! all was lost, no message can show: a look at the top of the log does.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustc_hash::{FxBuildHasher, FxHashSet};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    log_head::LogHead,
    wire::{self, Origin, StoredEntry},
};
use crate::{
    backends::redis::{
        application::RedisApplication, connection::redis_connection::RedisConnection, guilds, scripts::Script,
        sessions::live::FencingToken,
    },
    backplane::{Audience, Deliver, Epoch, Position, Unavailable},
};

/// The most messages that wait for a follower. What comes beyond is dropped, and read from the log later.
const MESSAGES: usize = 8192;
/// The most entries that are read at once.
const PAGE: usize = 64;
/// How long a follower waits until it looks again whether the workers have room.
const NO_ROOM: Duration = Duration::from_millis(2);
/// How many of the latest entries are remembered by their origin, to tell one that comes again after the server has lost
/// it.
const ORIGINS: usize = 4096;
/// How many of the latest messages are remembered, to tell when a false one came before the true one.
const HEARD: usize = 64;
/// How many sessions are carried over to another life of the log at once.
const CARRIED: usize = 256;

/// The way of messages to a follower.
#[derive(Clone)]
pub(in crate::backends::redis) struct LogSender {
    messages: mpsc::Sender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

/// Where a follower reads them.
pub(in crate::backends::redis) struct LogReceiver {
    messages: mpsc::Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
}

/// A way for messages, of which `limit` bytes may wait.
pub(in crate::backends::redis) fn channel(limit: usize) -> (LogSender, LogReceiver) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    let log_sender = LogSender {
        messages: sender,
        bytes: Arc::clone(&bytes),
        limit,
    };
    let messages = receiver;
    (log_sender, LogReceiver { messages, bytes })
}

impl LogSender {
    /// Passes a message on, or drops it when too many wait.
    pub(in crate::backends::redis) fn push(&self, message: Vec<u8>) {
        let size = message.len();
        if self.bytes.load(Ordering::Relaxed) < self.limit && self.messages.try_send(message).is_ok() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
    }
}

/// Follows one log for as long as the node lives.
pub(in crate::backends::redis) struct Follower {
    application: Arc<RedisApplication>,
    deliver: Arc<dyn Deliver>,
    log_receiver: LogReceiver,
    /// When the channel was last subscribed to; none while it is not.
    subscribed: watch::Receiver<Option<Instant>>,
    head: watch::Receiver<Option<LogHead>>,
    connection: watch::Receiver<Option<RedisConnection>>,
    /// The origins of the latest entries that were delivered here, with their offsets.
    origins: VecDeque<(u64, Origin)>,
    /// The offsets of the latest entries that were delivered from messages, with hashes of their bodies.
    heard: VecDeque<(u64, u64)>,
    /// Origins of entries that were delivered and that the server has lost since: whoever sends one again sends it to
    /// those who do not have it.
    delivered_before: FxHashSet<Origin>,
    /// Whether what has been delivered may not lead to what the guilds are.
    guilds_are_stale: bool,
    /// Discord sessions whose points have to be counted in the present life of the log before anything of it is
    /// delivered.
    uncarried: Vec<FencingToken>,
}

impl Follower {
    pub(in crate::backends::redis) fn new(
        application: Arc<RedisApplication>,
        deliver: Arc<dyn Deliver>,
        log_receiver: LogReceiver,
        subscribed: watch::Receiver<Option<Instant>>,
        connection: watch::Receiver<Option<RedisConnection>>,
    ) -> Self {
        Self {
            head: application.head.subscribe(),
            application,
            deliver,
            log_receiver,
            subscribed,
            connection,
            origins: VecDeque::new(),
            heard: VecDeque::new(),
            delivered_before: FxHashSet::default(),
            guilds_are_stale: false,
            uncarried: Vec::new(),
        }
    }

    pub(in crate::backends::redis) async fn run(mut self) {
        loop {
            tokio::select! {
                message = self.log_receiver.messages.recv() => match message {
                    Some(message) => {
                        self.log_receiver.bytes.fetch_sub(message.len(), Ordering::Relaxed);
                        self.hear(&message).await;
                    }
                    None => return,
                },
                changed = self.head.changed() => {
                    let head = self.head.borrow_and_update().clone();
                    match (changed, head) {
                        (Ok(()), Some(head)) => self.look(head).await,
                        (Ok(()), None) => {}
                        (Err(_), _) => return,
                    }
                }
                changed = self.subscribed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.subscribed.borrow_and_update().is_none() && self.application.members.end_following() {
                        // Nobody is there to receive.
                        self.application.progress().cursor = None;
                        self.deliver.reset(&self.application.name, None);
                        self.origins.clear();
                        self.heard.clear();
                    }
                }
            }
        }
    }

    fn cursor(&self) -> Option<Position> {
        self.application.progress().cursor
    }

    async fn hear(&mut self, message: &[u8]) {
        let Some(cursor) = self.cursor() else { return };
        let (position, body) = match wire::split_message(message) {
            Ok(split) => split,
            Err(error) => return log::error!(application = self.application.name; "{error}"),
        };
        // One of another epoch shows up in the next look, and that in which order they come.
        if position.epoch != cursor.epoch {
            return;
        }
        if position.offset <= cursor.offset {
            return self.compare(position, body).await;
        }
        if !self.carry(cursor.epoch).await {
            return;
        }
        if position.offset == cursor.offset + 1 {
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back((position.offset, FxBuildHasher.hash_one(body)));
            self.take(position, body).await;
        } else {
            self.read_up_to(position).await;
        }
    }

    /// Reads the log up to an entry that a message is about. If the log does not go that far, the message is false.
    async fn read_up_to(&mut self, claimed: Position) {
        // Without a link the next look comes back to it.
        let Some(connection) = self.connection.borrow().clone() else {
            return;
        };
        let mut query = redis::cmd("HMGET");
        query.arg(self.application.key("log:head")).arg("epoch").arg("top");
        let Ok(head) = connection.query(query).await else {
            return;
        };
        if wire::epoch(head.word(0)) != Ok(claimed.epoch) {
            return;
        }
        let top = head.number(1);
        if claimed.offset > top {
            let Position { offset, .. } = claimed;
            log::warn!(application = self.application.name, offset, top; "ignored a message about an entry that the log does not have");
        }
        self.repair(top.min(claimed.offset)).await;
    }

    /// Checks a message about an entry that was delivered. If the bodies differ, one of the two messages is false, and the
    /// log says which.
    async fn compare(&mut self, position: Position, body: &[u8]) {
        let Position { offset, epoch } = position;
        let mut heard = self.heard.iter();
        let Some((_, delivered)) = heard.find(|(heard, _)| *heard == offset).copied() else {
            return;
        };
        if delivered == FxBuildHasher.hash_one(body) {
            return;
        }
        let application = Arc::clone(&self.application);
        if self.stored(offset).await.map(|body| FxBuildHasher.hash_one(&*body)) == Some(delivered) {
            return log::warn!(application = application.name, offset; "ignored a message that differs from the log");
        }
        self.heard.clear();
        // Who reads on here must not find the false entry.
        let before = offset.saturating_sub(1);
        self.deliver
            .reset(&application.name, Some(Position { offset: before, epoch }));
        self.deliver.reset(&application.name, self.cursor());
        self.deliver.lost(&application.name, 1);
        self.gap("a false message was delivered in the place of an entry");
    }

    /// Reads the body of one entry. Returns `None` if the log does not have it or cannot be read now.
    async fn stored(&self, offset: u64) -> Option<Vec<u8>> {
        let connection = self.connection.borrow().clone()?;
        let id = format!("{offset}-0");
        let mut read = redis::cmd("XRANGE");
        read.arg(self.application.key("log")).arg(&id).arg(&id);
        let (_, body) = connection.query(read).await.ok()?.entries().next()?;
        Some(body)
    }

    /// Takes in what a look at the log has shown.
    async fn look(&mut self, head: LogHead) {
        let application = Arc::clone(&self.application);
        if application.progress().epoch().is_some_and(|epoch| epoch != head.epoch) {
            self.change_epoch(&head);
            self.report_expulsion(head.epoch).await;
        }
        application.progress().run = Some(Arc::clone(&head.run));
        if application.progress().learns_of_a_loss(&head) {
            self.gap("another node knows of entries that are gone");
        }
        let top = Position {
            epoch: head.epoch,
            offset: head.top,
        };
        application.note_entry(top);
        if !self.carry(head.epoch).await {
            return;
        }
        let cursor = self.cursor();
        let subscribed = *self.subscribed.borrow();
        match cursor {
            // What is appended after this look comes as a message, so nothing is missed in between.
            None if subscribed.is_some_and(|subscribed| head.asked > subscribed) => {
                // They may have come further than the top, where the log goes on to them.
                if !self.know_guilds().await {
                    return;
                }
                application.progress().begin(top);
                application.members.sweep(top.offset);
                application.live.begin(top.epoch);
                self.deliver.reset(&application.name, Some(top));
                application.members.begin_following();
            }
            Some(cursor) if cursor.epoch == head.epoch && cursor.offset < head.top => self.repair(head.top).await,
            _ => {}
        }
        if self.guilds_are_stale && self.cursor().is_some() {
            self.know_guilds().await;
        }
    }

    /// Finds out what the guilds are. Without a link the next look comes back to it.
    async fn know_guilds(&mut self) -> bool {
        let Some(connection) = self.connection.borrow().clone() else {
            return false;
        };
        match guilds::all(&self.application, &connection).await {
            Ok(guilds) => {
                self.deliver.guilds(&self.application.name, Some(guilds));
                self.guilds_are_stale = false;
                true
            }
            Err(Unavailable) => false,
        }
    }

    /// What is known of the guilds is not to be trusted any more.
    fn doubt_guilds(&mut self) {
        self.guilds_are_stale = true;
        self.deliver.guilds(&self.application.name, None);
    }

    fn change_epoch(&mut self, head: &LogHead) {
        let before = self.cursor();
        let truncation = self.application.progress().truncation(head, Instant::now());
        let Some(truncation) = truncation else { return };
        let name = Arc::clone(&self.application.name);
        self.uncarried = if truncation.is_missed || before.is_none_or(|before| before.offset > truncation.kept) {
            self.application.live.begin(head.epoch);
            Vec::new()
        } else {
            self.application.live.go_on(head.epoch)
        };
        if let Some(before) = before {
            if before.offset > truncation.kept {
                self.deliver.rolled_back(&name);
            }
            self.deliver.reset(&name, self.cursor());
            self.doubt_guilds();
        }
        log::info!(application = name, epoch:% = head.epoch, offset = truncation.kept; "the log begins another life");
        if head.kept.is_none() {
            self.application.members.sweep(truncation.kept);
        }
        // What stands behind the cut was delivered, and will not come again but as what somebody sends again.
        let is_cut_off = |(offset, _): &&(u64, Origin)| *offset > truncation.kept;
        let lost = self.origins.iter().filter(is_cut_off).map(|(_, origin)| *origin);
        if self.delivered_before.len() > ORIGINS {
            // Whoever had no answer then has given up by now.
            self.delivered_before.clear();
        }
        self.delivered_before.extend(lost);
        if truncation.is_diverged {
            // Whoever had these is cut off, and sessions that come now do not have them.
            self.delivered_before.clear();
        }
        self.origins.retain(|(offset, _)| *offset <= truncation.kept);
        self.heard.clear();
        if truncation.gone > 0 {
            log::error!(application = name, entries = truncation.gone; "redis has lost entries that it had accepted");
            self.deliver.lost(&name, truncation.gone);
        }
        if truncation.is_diverged {
            self.doubt_guilds();
            log::error!(application = name, offset = truncation.kept; "sessions have to connect again: others have gone on without entries that were delivered here");
            self.deliver.diverged(&name);
        }
        if truncation.is_missed {
            self.gap("redis has lost entries before they were delivered here");
        }
    }

    /// Logs it if this epoch began because another program had added entries to the log.
    async fn report_expulsion(&self, epoch: Epoch) {
        let Some(connection) = self.connection.borrow().clone() else {
            return;
        };
        let key = self.application.key("log:head");
        let mut query = redis::cmd("HGET");
        query.arg(&key).arg("expelled_in");
        let Ok(answer) = connection.query(query).await else {
            return;
        };
        if wire::epoch(answer.word(0)) == Ok(epoch) {
            let key = self.application.key("log");
            log::error!(application = self.application.name, key; "another program has added entries to the log: they were deleted");
        }
    }

    /// Has the points of the sessions here counted in this life of the log. Whether they are.
    async fn carry(&mut self, epoch: Epoch) -> bool {
        while !self.uncarried.is_empty() {
            let Some(connection) = self.connection.borrow().clone() else {
                return false;
            };
            let rest = self.uncarried.len().saturating_sub(CARRIED);
            let mut call = connection.script(Script::DiscordCarry, &self.application.key(""));
            call.arg(epoch.to_string());
            for (session, fencing_token) in &self.uncarried[rest..] {
                call.arg(session.get()).arg(fencing_token);
            }
            if connection.query(call).await.is_err() {
                return false;
            }
            self.uncarried.truncate(rest);
        }
        true
    }

    /// Reads what is missing up to this offset, which must not be beyond the end of the log: what is not there by then counts
    /// as trimmed.
    async fn repair(&mut self, to: u64) {
        let mut from = None;
        while let Some(cursor) = self.cursor()
            && cursor.offset < to
        {
            // Without a link the next look comes back to it.
            let Some(connection) = self.connection.borrow().clone() else {
                return;
            };
            let mut read = redis::cmd("XRANGE");
            read.arg(self.application.key("log"))
                .arg(from.take().unwrap_or_else(|| format!("{}-0", cursor.offset + 1)))
                .arg(format!("{to}-0"))
                .arg("COUNT")
                .arg(PAGE);
            let Ok(entries) = connection.query(read).await else {
                return;
            };
            let mut last = None;
            for (id, body) in entries.entries() {
                // Another program may have added entries between those of the log.
                if let Ok(offset) = wire::offset_of(&id) {
                    self.skip_to(offset - 1);
                    let epoch = cursor.epoch;
                    self.take(Position { offset, epoch }, &body).await;
                }
                last = Some(id);
            }
            match last {
                Some(last) => from = Some(format!("({last}")),
                None => self.skip_to(to),
            }
        }
    }

    /// Goes on behind this offset, over entries that are not kept any more.
    fn skip_to(&mut self, offset: u64) {
        let skipped = {
            let mut progress = self.application.progress();
            let Some(cursor) = &mut progress.cursor else { return };
            let skipped = offset.saturating_sub(cursor.offset);
            cursor.offset = cursor.offset.max(offset);
            skipped
        };
        if skipped > 0 {
            self.deliver.reset(&self.application.name, self.cursor());
            self.deliver.lost(&self.application.name, skipped);
            self.gap("entries were trimmed before they were delivered here");
        }
    }

    fn gap(&mut self, why: &str) {
        self.doubt_guilds();
        log::error!(application = self.application.name; "sessions have to connect again: {why}");
        self.deliver.gap(&self.application.name);
    }

    /// Delivers the entry that stands right behind the cursor.
    async fn take(&mut self, position: Position, body: &[u8]) {
        match wire::decode(&self.application.name, position, body) {
            Ok(stored) => {
                let origin = stored.origin;
                let was_delivered = origin != 0 && self.delivered_before.remove(&origin);
                let is_for_us = !was_delivered && self.is_for_us(&stored).await;
                if was_delivered && stored.owners.contains(&self.application.registration().owner) {
                    self.application.members.ack(position.offset);
                }
                while !self.deliver.has_room(stored.entry.weight()) {
                    tokio::time::sleep(NO_ROOM).await;
                }
                if is_for_us {
                    self.deliver.deliver(stored.entry);
                } else {
                    self.deliver.skip(stored.entry);
                }
                if origin != 0 && (is_for_us || was_delivered) {
                    if self.origins.len() == ORIGINS {
                        self.origins.pop_front();
                    }
                    self.origins.push_back((position.offset, origin));
                }
            }
            Err(error) => log::error!(application = self.application.name, offset = position.offset; "{error}"),
        }
        self.application.progress().advance(position);
    }

    /// Whether an entry is for sessions that are here.
    async fn is_for_us(&mut self, stored: &StoredEntry) -> bool {
        let session = match &stored.entry.audience {
            Audience::Types(_) => return true,
            Audience::One { session, .. } => session,
            Audience::Reporters { sessions, .. } => {
                let members = &self.application.members;
                let is_there = members.is_any_there(sessions);
                if !is_there && stored.owners.contains(&self.application.registration().owner) {
                    members.nack(stored.entry.position.offset);
                }
                return is_there;
            }
        };
        loop {
            let registration = self.application.registration();
            if !stored.owners.contains(&registration.owner) {
                return false;
            }
            if Instant::now() < registration.until {
                let is_there = self.application.members.can_receive(*session);
                if !is_there {
                    self.application.members.nack(stored.entry.position.offset);
                }
                return is_there;
            }
            // The lease has ended, so that others may have given the event to somebody else. Once the node is
            // registered again, it either has another name or was not reaped.
            tokio::time::sleep(NO_ROOM).await;
        }
    }
}
