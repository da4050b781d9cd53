//! The members of subscriber groups, and the keys by which they are grouped.

use std::cell::Cell;

use shared::{client_type::ClientType, discord::Filter, guild::GuildId, session_id::SessionId, v1::Encoding};

use tokio::{sync::oneshot, time::Instant};

use super::{
    delivery_queue::{AwaitedEntry, DeliveryQueue},
    receipts::Receipts,
    scopes::Scopes,
    subscriber_groups::{GroupMember, SubscriberGroups},
};
use crate::{
    backplane::{Audience, Entry, Epoch, Position},
    encode::{DispatchEncoder, LogCursor, WireFormat, encoded_event::EncodedEvent},
    transport::{Batch, Outbox, Push},
};

/// A v1 session as a member of a group.
pub(crate) struct V1Member {
    pub(crate) id: SessionId,
    /// It receives the entries after this cursor, whose number is 0 if that is not known. For a session that is told its
    /// positions, deliveries move the cursor along.
    pub(crate) since: Cell<LogCursor>,
    pub(crate) outbox: Outbox,
    /// What the session has received by catching up.
    pub(crate) replayed: Option<Box<Replayed>>,
}

/// The events of guilds that a bot has received by catching up. Such an event is appended again if the sessions that it
/// was for have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The guilds: ascending, without duplicates.
    pub guilds: Vec<GuildId>,
    /// It has the events from this offset on.
    pub from: u64,
}

impl Replayed {
    /// Whether the session has received an entry at its first append.
    fn has(&self, entry: &Entry) -> bool {
        match (&entry.audience, entry.first) {
            (Audience::Reporters { guild, .. }, Some(first)) => {
                first >= self.from && self.guilds.binary_search(guild).is_ok()
            }
            _ => false,
        }
    }
}

/// What the members of a v1 group have in common. The client type decides which events they receive, the encoding which
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct V1GroupKey {
    pub(crate) kind: ClientType,
    pub(crate) encoding: Encoding,
    /// Whether they receive the guild counts. Bots always do.
    pub(crate) counts: bool,
    /// Whether they have tickets, and so receive only some of the broadcasts.
    pub(crate) has_tickets: bool,
    /// Whether they are told the positions of the events.
    pub(crate) has_positions: bool,
}

/// A Discord session as a member of a group.
pub(crate) struct DiscordMember {
    pub(crate) id: SessionId,
    /// The fencing token of its owner. For a short time two owners of one session can be on the same worker.
    pub(crate) fencing_token: u64,
    /// It receives the entries with higher numbers than this.
    pub(crate) since: u64,
    pub(crate) encoder: DispatchEncoder,
    pub(crate) outbox: Outbox,
}

/// What the members of a Discord group have in common: which events they receive, and their wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DiscordGroupKey {
    pub(crate) filter: Filter,
    pub(crate) wire_format: WireFormat,
}

/// The sessions of one application on one worker.
#[derive(Default)]
pub(crate) struct ApplicationSubscribers {
    pub(crate) v1: SubscriberGroups<V1GroupKey, V1Member>,
    pub(crate) discord: SubscriberGroups<DiscordGroupKey, DiscordMember>,
    /// Which v1 sessions watch which guilds.
    pub(crate) scopes: Scopes,
    /// The requests that the v1 sessions have received and not answered yet.
    pub(crate) receipts: Receipts,
    /// The number of the last entry of which delivery has begun.
    pub(crate) started: u64,
    /// The last entry that has been delivered to all sessions that receive it.
    pub(crate) finished: Option<LogCursor>,
    awaited: Vec<AwaitedPosition>,
}

/// A position that someone waits for.
struct AwaitedPosition {
    position: Position,
    /// The epoch in which the wait began.
    began_in: Option<Epoch>,
    /// Ends the wait when it is dropped.
    waiter: oneshot::Sender<()>,
    _entry: AwaitedEntry,
}

impl ApplicationSubscribers {
    /// Records that everything up to this entry has been delivered.
    pub(crate) fn finish(&mut self, cursor: LogCursor) {
        self.finished = Some(cursor);
        if !self.awaited.is_empty() {
            let reached = cursor.position;
            self.awaited.retain(|it| it.is_pending(reached));
        }
    }

    /// Returns how far a v1 session is: every entry up to there was sent to it, or is not for it. Without a member, how
    /// far the worker is.
    pub(crate) fn v1_cursor(&self, id: SessionId) -> Option<LogCursor> {
        // The next entries may have been delivered to this session but not to all others.
        let own = self.v1.get(id).map(|(_, member)| member.since.get());
        own.into_iter().chain(self.finished).max_by_key(|cursor| cursor.number)
    }

    /// Returns a wait until everything up to a position has been delivered to a v1 session, or `None` if it has been. The
    /// receiver fails then; it never gets a value. The wait also ends if the log leaves the epoch.
    pub(crate) fn reach(
        &mut self,
        id: SessionId,
        position: Position,
        delivery_queue: &DeliveryQueue,
    ) -> Option<oneshot::Receiver<()>> {
        let (waiter, reached) = oneshot::channel();
        let here = self.v1_cursor(id).map(|cursor| cursor.position);
        let awaited = AwaitedPosition {
            position,
            began_in: here.map(|here| here.epoch),
            waiter,
            _entry: delivery_queue.await_entry(),
        };
        if here.is_some_and(|here| !awaited.is_pending(here)) {
            return None;
        }
        self.awaited.push(awaited);
        Some(reached)
    }

    /// Returns the member with this session id, if its owner has this fencing token.
    pub(crate) fn discord_member(&self, id: SessionId, fencing_token: u64) -> Option<&DiscordMember> {
        let (_, discord_member) = self.discord.get(id)?;
        (discord_member.fencing_token == fencing_token).then_some(discord_member)
    }

    /// Removes the member with this session id, if its owner has this fencing token.
    pub(crate) fn unsubscribe(&mut self, id: SessionId, fencing_token: u64) {
        if self.discord_member(id, fencing_token).is_some() {
            self.discord.remove(id);
        }
    }
}

impl AwaitedPosition {
    /// Whether someone still waits for the position when the worker is here.
    fn is_pending(&self, here: Position) -> bool {
        let is_ahead = if here.epoch == self.position.epoch {
            here.offset < self.position.offset
        } else {
            self.began_in.is_none_or(|began_in| here.epoch == began_in)
        };
        is_ahead && !self.waiter.is_closed()
    }
}

impl V1GroupKey {
    /// Whether an entry is for all members of the group.
    pub(crate) fn gets(self, entry: &EncodedEvent) -> bool {
        let is_for_type = entry.is_for_all(self.kind) && (entry.entry.to_tickets || !self.has_tickets);
        is_for_type || (self.counts && entry.is_counts)
    }
}

impl V1Member {
    /// Sends the session an entry if it is a receiver. Returns whether it is.
    pub(crate) fn deliver_to(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant) -> bool {
        let admitted = if key.has_tickets {
            // No entry lists the session of a ticket.
            key.gets(entry)
        } else {
            entry.entry.admits(self.id, key.kind, self.since.get().position) || (key.counts && entry.is_counts)
        };
        admitted && self.deliver_addressed(entry, key, now)
    }

    /// Sends the session an entry that is for it, unless it joined later, is the author, or has the event already. Returns
    /// whether it has the event now.
    pub(crate) fn deliver_addressed(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant) -> bool {
        let is_received = self.is_before(entry.cursor()) && entry.entry.author != Some(self.id);
        if is_received
            && !self
                .replayed
                .as_ref()
                .is_some_and(|replayed| replayed.has(&entry.entry))
        {
            let frame = entry.frame(key.encoding, key.has_positions);
            // If the outbox overflows, the connection's driver evicts the session.
            self.outbox.deliver(&Batch::from(frame.clone()), now);
            if key.has_positions {
                self.since.set(entry.cursor());
            }
        }
        is_received
    }

    /// Sends the session a request, which is not written after `until`. Returns whether it was written or queued.
    pub(crate) fn deliver_request(&self, entry: &EncodedEvent, key: V1GroupKey, now: Instant, until: Instant) -> bool {
        let frame = entry.frame(key.encoding, key.has_positions);
        let push = self.outbox.deliver_until(&Batch::from(frame.clone()), now, until);
        if key.has_positions {
            self.since.set(entry.cursor());
        }
        push == Push::Taken
    }

    /// Whether the session joined before an entry.
    pub(crate) fn is_before(&self, entry: LogCursor) -> bool {
        let since = self.since.get();
        // Entries with lower numbers may be of an epoch before that of `since`.
        entry.number > since.number && entry.position.is_after(since.position)
    }
}

impl GroupMember for V1Member {
    fn id(&self) -> SessionId {
        self.id
    }
}

impl GroupMember for DiscordMember {
    fn id(&self) -> SessionId {
        self.id
    }
}
