//! Follows one log: delivers the messages of its channel in order, and reads missing entries from the stream.
//!
//! Pub/sub is the fast path, and is not trusted. An entry is delivered if it directly follows the last one. An earlier
//! one is dropped; before a later one, the missing entries are read. No message can show that the last message was
//! lost: reading the head of the log does.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{Arc, atomic::Ordering},
};

use rustc_hash::FxBuildHasher;
use tokio::{sync::watch, time::Instant};

use super::{
    channel::LogReceiver,
    delivered_origins::DeliveredOrigins,
    log_head::LogHead,
    wire::{self, StoredEntry},
};
use crate::{
    backends::redis::{
        application::RedisApplication, connection::redis_connection::RedisConnection, guilds, scripts::Script,
        sessions::live::FencingToken,
    },
    backplane::{Audience, Deliver, Epoch, Position, Unavailable},
    metrics::Metrics,
};

/// The maximum number of entries read at once, and of messages that are processed before anything else is looked at.
const PAGE: usize = 64;
/// How many of the latest messages are remembered, to detect that a forged one arrived before the genuine one.
const HEARD: usize = 64;
/// How many sessions are carried over to a new epoch in one call.
const CARRIED: usize = 256;

/// Follows one log until the node stops.
pub(in crate::backends::redis) struct Follower {
    application: Arc<RedisApplication>,
    deliver: Arc<dyn Deliver>,
    metrics: Arc<Metrics>,
    log_receiver: LogReceiver,
    /// When the channel was last subscribed to; `None` while it is not.
    subscribed: watch::Receiver<Option<Instant>>,
    head: watch::Receiver<Option<LogHead>>,
    connection: watch::Receiver<Option<RedisConnection>>,
    /// The origins of the entries delivered here.
    origins: DeliveredOrigins,
    /// The offsets of the latest entries delivered from messages, with hashes of their bodies.
    heard: VecDeque<(u64, u64)>,
    /// Whether the guild state may not match the entries delivered, and has to be read again.
    guilds_are_stale: bool,
    /// Discord sessions whose checkpoints must be moved to the current epoch before any entry of it is delivered.
    uncarried: Vec<FencingToken>,
}

impl Follower {
    pub(in crate::backends::redis) fn new(
        application: Arc<RedisApplication>,
        deliver: Arc<dyn Deliver>,
        metrics: Arc<Metrics>,
        log_receiver: LogReceiver,
        subscribed: watch::Receiver<Option<Instant>>,
        connection: watch::Receiver<Option<RedisConnection>>,
    ) -> Self {
        Self {
            head: application.head.subscribe(),
            application,
            deliver,
            metrics,
            log_receiver,
            subscribed,
            connection,
            origins: DeliveredOrigins::default(),
            heard: VecDeque::new(),
            guilds_are_stale: false,
            uncarried: Vec::new(),
        }
    }

    pub(in crate::backends::redis) async fn run(mut self) {
        loop {
            tokio::select! {
                message = self.log_receiver.messages.recv() => match message {
                    Some(message) => {
                        self.take_message(&message).await;
                        for _ in 0..PAGE {
                            let Ok(message) = self.log_receiver.messages.try_recv() else { break };
                            self.take_message(&message).await;
                        }
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
                        // There are no receivers.
                        self.application.progress().cursor = None;
                        self.deliver.reset(&self.application.name, None);
                        self.origins.restart();
                        self.heard.clear();
                    }
                }
            }
        }
    }

    fn cursor(&self) -> Option<Position> {
        self.application.progress().cursor
    }

    /// Processes a message that was queued.
    async fn take_message(&mut self, message: &[u8]) {
        self.log_receiver.bytes.fetch_sub(message.len(), Ordering::Relaxed);
        self.hear(message).await;
    }

    async fn hear(&mut self, message: &[u8]) {
        let Some(cursor) = self.cursor() else { return };
        let (position, body) = match wire::split_message(message) {
            Ok(split) => split,
            Err(error) => return log::error!(application = self.application.name; "{error}"),
        };
        // The next read of the log head finds a new epoch, and the order of epochs.
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

    /// Reads the log up to an entry that a message announced. If the log does not reach that far, the message is
    /// forged.
    async fn read_up_to(&mut self, claimed: Position) {
        // Without a connection, the next read of the log head tries again.
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
            log::warn!(
                application = self.application.name, offset, top;
                "ignored a message about an entry that the log does not have"
            );
        }
        self.repair(top.min(claimed.offset)).await;
    }

    /// Checks a second message about a delivered entry. If the bodies differ, one of the messages is forged, and the
    /// log tells which.
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
        // Sessions that replay from the buffer must not find the forged entry.
        let before = offset.saturating_sub(1);
        self.deliver
            .reset(&application.name, Some(Position { offset: before, epoch }));
        self.deliver.reset(&application.name, self.cursor());
        self.deliver.lost(&application.name, 1);
        self.gap("a forged message was delivered in the place of an entry");
    }

    /// Reads the body of one entry. Returns `None` if the log does not have it, or cannot be read now.
    async fn stored(&self, offset: u64) -> Option<Vec<u8>> {
        let connection = self.connection.borrow().clone()?;
        let id = format!("{offset}-0");
        let mut read = redis::cmd("XRANGE");
        read.arg(self.application.key("log")).arg(&id).arg(&id);
        let (_, body) = connection.query(read).await.ok()?.entries().next()?;
        Some(body)
    }

    /// Processes the log head that was read.
    async fn look(&mut self, head: LogHead) {
        let application = Arc::clone(&self.application);
        if application.progress().epoch().is_some_and(|epoch| epoch != head.epoch) {
            self.change_epoch(&head);
            self.report_expulsion(head.epoch).await;
        }
        application.progress().run = Some(Arc::clone(&head.run));
        if application.progress().learns_of_a_loss(&head) {
            self.gap("redis has lost entries that another node has seen");
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
            // Entries appended after this read arrive as messages, so nothing is missed in between.
            None if subscribed.is_some_and(|subscribed| head.asked > subscribed) => {
                // The guild state may be ahead of `top`. The log leads from there up to it.
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

    /// Reads the guild state. Returns `false` without a connection; the next read of the log head tries again.
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

    /// Marks the guild state as unknown until it is read again.
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
        log::info!(application = name, epoch:% = head.epoch, offset = truncation.kept; "the log begins a new epoch");
        if head.kept.is_none() {
            self.application.members.sweep(truncation.kept);
        }
        self.origins.cut_off(truncation.kept);
        if truncation.is_diverged {
            // The sessions that received these are closed, and new sessions do not have them.
            self.origins.forget_lost();
        }
        self.heard.clear();
        if truncation.gone > 0 {
            log::error!(application = name, entries = truncation.gone; "redis has lost entries that it had accepted");
            self.deliver.lost(&name, truncation.gone);
        }
        if truncation.is_diverged {
            self.doubt_guilds();
            log::error!(
                application = name, offset = truncation.kept;
                "sessions must reconnect: other nodes continued without entries that were delivered here"
            );
            self.deliver.gap(&name);
        }
        if truncation.is_missed {
            self.gap("redis has lost entries before they were delivered here");
        }
    }

    /// Logs if this epoch began because another program had added entries to the log.
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
            log::error!(
                application = self.application.name, key;
                "another program has added entries to the log: they were deleted"
            );
        }
    }

    /// Moves the checkpoints of the sessions on this node to this epoch. Returns whether that is done.
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

    /// Reads and delivers the missing entries up to this offset, which must not be beyond the end of the log. Entries
    /// that are not found count as trimmed.
    async fn repair(&mut self, to: u64) {
        let mut from = None;
        if self.cursor().is_some_and(|cursor| cursor.offset < to) {
            self.metrics.redis.repairs.inc();
        }
        while let Some(cursor) = self.cursor()
            && cursor.offset < to
        {
            // Without a connection, the next read of the log head tries again.
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
                    self.metrics.redis.repaired_entries.inc();
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

    /// Moves the cursor to this offset, past entries that the log no longer has.
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
        log::error!(application = self.application.name; "sessions must reconnect: {why}");
        self.deliver.gap(&self.application.name);
    }

    /// Delivers the entry that directly follows the cursor.
    async fn take(&mut self, position: Position, body: &[u8]) {
        match wire::decode(&self.application.name, position, body) {
            Ok(mut stored) => {
                let origin = stored.origin;
                if let Some(accepted) = self.application.acceptances.take(origin) {
                    stored.entry.accepted = accepted;
                }
                let was_delivered = self.origins.take_lost(origin);
                let is_for_us = !was_delivered && self.is_for_us(&stored).await;
                if was_delivered && stored.owners.contains(&self.application.registration().owner) {
                    self.application.members.ack(position.offset);
                }
                if !self.deliver.has_room(stored.entry.weight()) {
                    self.deliver.wait_for_room(stored.entry.weight()).await;
                }
                if is_for_us {
                    self.deliver.deliver(stored.entry);
                } else {
                    self.deliver.skip(stored.entry);
                }
                if is_for_us || was_delivered {
                    self.origins.record(position.offset, origin);
                }
            }
            Err(error) => log::error!(application = self.application.name, offset = position.offset; "{error}"),
        }
        self.application.progress().advance(position);
    }

    /// Whether an entry is for sessions on this node.
    async fn is_for_us(&mut self, stored: &StoredEntry) -> bool {
        let session = match &stored.entry.audience {
            // The shards know which sessions belong to the user.
            Audience::Types(_) | Audience::User { .. } => return true,
            // The shards know whether the session is still there.
            Audience::Request { .. } | Audience::Job(_) => {
                return stored.owners.contains(&self.application.registration().owner);
            }
            Audience::One { session, .. } => session,
            Audience::Reporters {
                sessions,
                are_watchers_included,
                ..
            } => {
                let members = &self.application.members;
                let is_there = members.is_any_there(sessions);
                if !is_there && stored.owners.contains(&self.application.registration().owner) {
                    members.nack(stored.entry.position.offset);
                }
                // The shards know which sessions watch the guild.
                return is_there || *are_watchers_included;
            }
        };
        loop {
            let changed = self.application.registration_changed.notified();
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
            // The lease has expired, so another node may have reassigned the event. Once this node is registered again,
            // it either has another name or was not reaped.
            changed.await;
        }
    }
}
