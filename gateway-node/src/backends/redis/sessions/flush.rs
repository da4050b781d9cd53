//! Flushes the write-behind queue to the server.

use std::time::Duration;

use redis::Cmd;

use super::{in_flight::InFlight, write_behind::PendingWrite};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::{problem::RedisProblem, redis_connection::RedisConnection},
        scripts::{Script, millis},
        shared::RedisShared,
    },
    backplane::{Deliver, Epoch, Owner},
    resume::Checkpoint,
};

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
