//! Publishes presences and voice states of Discord sessions in batches, and undoes those of ended sessions.

use std::time::Duration;

use redis::Cmd;
use tokio::time::sleep;

use super::{
    flush::superseded,
    in_flight::{InFlight, Requeue},
};
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::{problem::RedisProblem, redis_connection::RedisConnection},
        log::wire::NONE,
        membership::maintenance::Maintenance,
        scripts::Script,
        shared::RedisShared,
    },
    backplane::Owner,
    resume::{PRESENCE_UPDATE, PresenceEvent, PresenceQueue, VOICE_STATE_UPDATE, pause_after},
};

/// How often a node checks for ended sessions.
const LOOK: Duration = Duration::from_secs(1);
/// About how many events one call appends for such sessions.
const EXPIRED: usize = 64;

impl Requeue for PresenceQueue {
    type Batch = Vec<(Owner, Vec<PresenceEvent>)>;

    fn requeue(&self, batch: Self::Batch) {
        Self::requeue(self, batch);
    }
}

/// Publishes the presences and voice states of this node's sessions until the connection ends. Updates without an
/// answer are published again: an unchanged presence is then ignored, and a repeated voice state is harmless.
pub(in crate::backends::redis) async fn publish_pending(
    shared: &RedisShared,
    connection: &RedisConnection,
) -> RedisProblem {
    let queue = &shared.presence_queue;
    loop {
        let in_flight = InFlight::new(queue, queue.take());
        if in_flight.batch.is_empty() {
            drop(in_flight);
            queue.changed().await;
            continue;
        }
        let published = in_flight.batch.iter().filter_map(|(owner, events)| {
            let application = shared.applications.get(&owner.application)?;
            Some((owner, call(shared, connection, application, owner, events)))
        });
        let (owners, calls): (Vec<_>, Vec<_>) = published.unzip();
        let answers = match connection.run(calls).await {
            Ok(answers) => answers,
            Err(problem) => return problem,
        };
        let mut events = 0;
        for (owner, answer) in owners.into_iter().zip(answers) {
            match answer {
                Ok(fields) => match fields.word(0) {
                    "ok" => events += fields.number(1),
                    "superseded" => superseded(&*shared.deliver, owner, fields.number(1)),
                    "fenced" => return connection.fenced(),
                    // The updates of an ended session are dropped.
                    _ => {}
                },
                Err(problem) => return problem,
            }
        }
        in_flight.confirm();
        sleep(pause_after(usize::try_from(events).unwrap_or(usize::MAX))).await;
    }
}

fn call(
    shared: &RedisShared,
    connection: &RedisConnection,
    application: &RedisApplication,
    owner: &Owner,
    events: &[PresenceEvent],
) -> Cmd {
    let mut call = application.call_log(connection, Script::DiscordPresence);
    shared.bounds.add_to(&mut call);
    call.arg(owner.id.get()).arg(owner.fencing_token);
    for event in events {
        call.arg(event.guild());
        match event {
            PresenceEvent::Presence(payload, _) => {
                call.arg(PRESENCE_UPDATE).arg(&*event.d());
                match payload.digest() {
                    Some(digest) => call.arg(format!("{digest:016x}")),
                    None => call.arg(NONE),
                };
            }
            PresenceEvent::Voice(voice) => {
                call.arg(VOICE_STATE_UPDATE).arg(&*event.d());
                call.arg(voice.leaving().map_or(NONE, |leaving| leaving));
            }
        }
    }
    call
}

impl Maintenance<'_> {
    /// Publishes "offline" for bots whose sessions have ended, and that they left their voice channels.
    pub(in crate::backends::redis) async fn expire(&self) -> RedisProblem {
        loop {
            for application in self.shared.applications.values() {
                if let Err(problem) = self.expire_all(application).await {
                    return problem;
                }
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.shared.expire_now.notified() => {}
            }
        }
    }

    async fn expire_all(&self, application: &RedisApplication) -> Result<(), RedisProblem> {
        loop {
            // When the server comes back after an outage, every deadline has passed. Owners that are alive extend
            // theirs first.
            let is_sure = self.connection.since().elapsed() > self.shared.options.lease;
            let mut call = application.call_log(self.connection, Script::DiscordExpire);
            self.shared.bounds.add_to(&mut call);
            call.arg(u8::from(is_sure)).arg(EXPIRED);
            let fields = self.connection.query(call).await?;
            let is_more = match fields.word(0) {
                "ok" => false,
                "more" => true,
                _ => return Err(self.connection.fenced()),
            };
            sleep(pause_after(usize::try_from(fields.number(1)).unwrap_or(usize::MAX))).await;
            if !is_more {
                return Ok(());
            }
        }
    }
}
