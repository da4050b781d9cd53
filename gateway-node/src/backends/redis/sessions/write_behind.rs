//! The write-behind queue for the Discord sessions of this node.
//!
//! Only the latest state of each owner is queued, so the queue stays small while the server is unavailable.

use std::time::Duration;

use parking_lot::Mutex;
use redis::Cmd;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::in_flight::{InFlight, Requeue};
use crate::{
    backends::redis::{
        RedisShared,
        application::RedisApplication,
        connection::{problem::RedisProblem, redis_connection::RedisConnection},
        membership::maintenance::millis,
        scripts::Script,
    },
    backplane::{Deliver, Epoch, Owner},
    resume::Checkpoint,
};

/// The maximum number of sessions in one batch.
const BATCH: usize = 256;

#[derive(Default)]
pub(in crate::backends::redis) struct WriteBehind {
    state: Mutex<PendingWrites>,
    changed: Notify,
}

#[derive(Default)]
struct PendingWrites {
    writes: FxHashMap<Owner, PendingWrite>,
    /// The number of sessions sent but not yet confirmed.
    in_flight: usize,
}

/// The pending writes for one session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PendingWrite {
    checkpoint: Option<Checkpoint>,
    /// The epoch that everything the client has seen belongs to, if known.
    epoch: Option<Epoch>,
    /// Whether it has lost its connection; if so, whether that was for slow reading.
    detached: Option<bool>,
    has_ended: bool,
}

impl PendingWrite {
    /// Merges these writes with earlier ones that were not confirmed.
    fn after(self, earlier: Self) -> Self {
        Self {
            checkpoint: self.checkpoint.or(earlier.checkpoint),
            epoch: self.epoch.or(earlier.epoch),
            detached: self.detached.or(earlier.detached),
            has_ended: self.has_ended || earlier.has_ended,
        }
    }
}

impl WriteBehind {
    /// Records how far a client is, if that is known, and that it is connected. Everything that it has seen belongs to
    /// `epoch`.
    pub(in crate::backends::redis) fn checkpoint(
        &self,
        owner: &Owner,
        checkpoint: Option<Checkpoint>,
        epoch: Option<Epoch>,
    ) {
        self.write(
            owner,
            PendingWrite {
                checkpoint,
                epoch,
                ..PendingWrite::default()
            },
        );
    }

    /// Records that a session has lost its connection.
    pub(in crate::backends::redis) fn detach(&self, owner: &Owner, is_slow: bool) {
        self.write(
            owner,
            PendingWrite {
                detached: Some(is_slow),
                ..PendingWrite::default()
            },
        );
    }

    /// Records that a session has ended.
    pub(in crate::backends::redis) fn end(&self, owner: &Owner) {
        self.write(
            owner,
            PendingWrite {
                has_ended: true,
                ..PendingWrite::default()
            },
        );
    }

    /// Whether everything has been flushed.
    pub(in crate::backends::redis) fn is_flushed(&self) -> bool {
        let state = self.state.lock();
        state.writes.is_empty() && state.in_flight == 0
    }

    fn write(&self, owner: &Owner, write: PendingWrite) {
        let mut state = self.state.lock();
        let known = state.writes.entry(owner.clone()).or_default();
        *known = write.after(*known);
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self) -> Vec<(Owner, PendingWrite)> {
        let mut state = self.state.lock();
        let owners: Vec<_> = state.writes.keys().take(BATCH).cloned().collect();
        let taken: Vec<_> = owners
            .into_iter()
            .filter_map(|owner| state.writes.remove_entry(&owner))
            .collect();
        state.in_flight = taken.len();
        taken
    }
}

impl Requeue for WriteBehind {
    type Batch = Vec<(Owner, PendingWrite)>;

    fn requeue(&self, batch: Self::Batch) {
        let mut state = self.state.lock();
        state.in_flight = 0;
        for (owner, earlier) in batch {
            let known = state.writes.entry(owner).or_default();
            *known = known.after(earlier);
        }
    }
}

/// Flushes the queue to the server until the connection ends.
pub(in crate::backends::redis) async fn flush(shared: &RedisShared, connection: &RedisConnection) -> RedisProblem {
    let queue = &shared.write_behind;
    loop {
        let in_flight = InFlight::new(queue, queue.take());
        if in_flight.batch.is_empty() {
            drop(in_flight);
            queue.changed.notified().await;
            continue;
        }
        let mut calls = Vec::new();
        let mut callers = Vec::new();
        for (owner, write) in &in_flight.batch {
            let Some(application) = shared.applications.get(&owner.application) else {
                continue;
            };
            for call in calls_of(shared, connection, application, owner, *write) {
                calls.push(call);
                callers.push(owner);
            }
        }
        let answers = match connection.run(calls).await {
            Ok(answers) => answers,
            Err(problem) => return problem,
        };
        for (owner, answer) in callers.into_iter().zip(answers) {
            match answer {
                Ok(fields) if fields.word(0) == "superseded" => superseded(&*shared.deliver, owner, fields.number(1)),
                // A session that the server has lost cannot be resumed, but keeps its connection.
                Ok(_) => {}
                Err(problem) => return problem,
            }
        }
        if in_flight.batch.iter().any(|(_, write)| write.has_ended) {
            shared.expire_now.notify_one();
        }
        in_flight.confirm();
    }
}

/// Makes the session's connection on this node let go of it: the notification of its new owner did not arrive.
pub(in crate::backends::redis) fn superseded(deliver: &dyn Deliver, owner: &Owner, fencing_token: u64) {
    deliver.superseded(&Owner {
        fencing_token,
        ..owner.clone()
    });
}

fn calls_of(
    shared: &RedisShared,
    connection: &RedisConnection,
    application: &RedisApplication,
    owner: &Owner,
    write: PendingWrite,
) -> impl Iterator<Item = Cmd> {
    let call = |script, kept: Duration| {
        let mut call = connection.script(script, &application.key(""));
        call.arg(owner.id.get()).arg(owner.fencing_token).arg(millis(kept));
        call
    };
    let (window, presence) = (shared.options.resume_window, shared.options.presence());
    if write.has_ended {
        return [Some(call(Script::DiscordEnd, presence)), None].into_iter().flatten();
    }
    let checkpoint = (write.checkpoint.is_some() || write.detached.is_none()).then(|| {
        let mut call = call(Script::DiscordCheckpoint, presence);
        call.arg(epoch_or_none(write.epoch));
        if let Some(Checkpoint { s, position }) = write.checkpoint {
            call.arg(s).arg(position.epoch.to_string()).arg(position.offset);
        }
        call
    });
    let detach = write.detached.map(|is_slow| {
        let mut call = call(Script::DiscordDetach, window);
        call.arg(u8::from(is_slow));
        call
    });
    [checkpoint, detach].into_iter().flatten()
}

/// Formats an epoch for the scripts, which may be unknown.
pub(in crate::backends::redis) fn epoch_or_none(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())
}
