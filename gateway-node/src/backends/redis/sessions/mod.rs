//! Discord sessions that any node can resume. Their state is stored on the server, and changed only by scripts.
//!
//! A session belongs to no node. Its owner extends its expiry with every heartbeat; without that, the session expires.

pub(in crate::backends::redis) mod flush;
mod in_flight;
pub(in crate::backends::redis) mod live;
pub(in crate::backends::redis) mod owner_message;
pub(in crate::backends::redis) mod presence_publisher;
#[cfg(test)]
pub(in crate::backends::redis) mod tests;
pub(in crate::backends::redis) mod write_behind;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use shared::discord::{Filter, Intents, Shard, Version};
use tokio::time::{Instant, sleep};

use self::flush::epoch_or_none;
use super::{
    application::RedisApplication,
    backplane::RedisBackplane,
    connection::redis_connection::{RedisConnection, ReplyFields},
    guilds,
    log::{pages::Pages, wire},
    scripts::{Script, millis},
    shared::RedisShared,
};
use crate::{
    backplane::{Epoch, JoinError, Owner, Pending, Position, Unavailable},
    guilds::Guilds,
    resume::{
        Checkpoint, DAY, FollowGuard, LogPage, OpenedRow, PRIVATE_BYTES, PresenceChange, PrivateBody, PrivateRecord,
        ReadError, Record, ResumeError, ResumeParams, ResumedRow, SLOW_CUTS, SessionContinuation, StartBudget,
        StartLimits, Store, WINDOW,
    },
};

/// How many ids are tried before a session cannot be opened.
const ID_ATTEMPTS: usize = 3;
/// How long a session waits until its node follows the log.
const FOLLOWING: Duration = Duration::from_secs(5);
/// How often it checks.
const GLANCE: Duration = Duration::from_millis(5);
/// The Discord sessions on a server.
pub struct RedisSessions {
    shared: Arc<RedisShared>,
    pages: Arc<Pages>,
}

/// The stored form of a [`Record`].
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    intents: u64,
    shard: [u32; 2],
    user: u64,
    withholds_content: bool,
    version: u8,
    large_threshold: u16,
}

/// Keeps the node following the log while a session is connected here.
struct RedisFollowGuard {
    shared: Arc<RedisShared>,
    application: Arc<RedisApplication>,
}

impl RedisFollowGuard {
    fn new(shared: &Arc<RedisShared>, application: &Arc<RedisApplication>) -> Self {
        application.members.add_guest();
        shared.receivers_changed.notify_one();
        Self {
            shared: Arc::clone(shared),
            application: Arc::clone(application),
        }
    }
}

impl Drop for RedisFollowGuard {
    fn drop(&mut self) {
        self.application.members.remove_guest();
        self.shared.receivers_changed.notify_one();
    }
}

impl RedisSessions {
    /// The sessions on the server of this backplane.
    pub fn new(backplane: &RedisBackplane) -> Self {
        Self {
            shared: Arc::clone(&backplane.shared),
            pages: Arc::new(Pages::new()),
        }
    }

    fn application(&self, name: &str) -> Option<Arc<RedisApplication>> {
        self.shared.applications.get(name).cloned()
    }

    /// Returns what a call needs, or `None` without a connection.
    fn reach(&self, name: &str) -> Option<(Arc<RedisShared>, Arc<RedisApplication>, RedisConnection)> {
        let connection = self.shared.connection.borrow().clone()?;
        Some((Arc::clone(&self.shared), self.application(name)?, connection))
    }
}

impl Store for RedisSessions {
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Unavailable> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, connection) = reach.ok_or(Unavailable)?;
            let concurrency = limits.max_concurrency.max(1);
            let mut call = connection.script(Script::DiscordStart, &application.key(""));
            call.arg(shard.id % concurrency)
                .arg(concurrency)
                .arg(millis(WINDOW))
                .arg(limits.per_day)
                .arg(millis(DAY));
            let fields = connection.query(call).await.map_err(|_| Unavailable)?;
            Ok(fields.word(0) == "ok")
        })
    }

    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Unavailable> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, connection) = reach.ok_or(Unavailable)?;
            let command = |name| {
                let mut command = redis::cmd(name);
                command.arg(application.key("discord:starts"));
                command
            };
            let answers = connection
                .run([command("GET"), command("PTTL")])
                .await
                .map_err(|_| Unavailable)?;
            let Ok([Ok(started), Ok(left)]) = <[_; 2]>::try_from(answers) else {
                return Err(Unavailable);
            };
            let started = u32::try_from(started.number(0)).unwrap_or(u32::MAX);
            Ok(StartBudget {
                remaining: limits.per_day.saturating_sub(started),
                reset_after: Duration::from_millis(left.number(0)),
            })
        })
    }

    fn open(&self, record: Arc<Record>) -> Pending<OpenedRow, JoinError> {
        let application = self.application(&record.application);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let application = application.ok_or(JoinError::Unavailable)?;
            let guest = RedisFollowGuard::new(&shared, &application);
            // From here on, everything appended after the session is stored is delivered here.
            let until = Instant::now() + FOLLOWING;
            while !application.members.is_followed() {
                if Instant::now() >= until {
                    return Err(JoinError::Unavailable);
                }
                sleep(GLANCE).await;
            }
            open(&shared, &application, &record, Box::new(guest)).await
        })
    }

    fn resume(&self, params: ResumeParams) -> Pending<ResumedRow, ResumeError> {
        let reach = self.reach(&params.application);
        Box::pin(async move {
            let (shared, application, connection) = reach.ok_or(ResumeError::Unavailable)?;
            let guest = RedisFollowGuard::new(&shared, &application);
            let mut call = connection.script(Script::DiscordResume, &application.key(""));
            call.arg(params.id.get())
                .arg(&*params.key)
                .arg(Filter::VERSION)
                // A client that resumes has seen the first dispatch, even if it does not count it.
                .arg(params.seq.max(1))
                .arg(SLOW_CUTS)
                .arg(millis(shared.options.resume_window))
                .arg(millis(shared.options.presence()));
            let fields = connection.query(call).await.map_err(|_| ResumeError::Unavailable)?;
            if fields.word(0) != "ok" {
                return Err(ResumeError::Gone);
            }
            let continued = continued(&params, &fields).ok_or(ResumeError::Gone)?;
            shared.deliver.superseded(&Owner {
                application: params.application,
                id: params.id,
                fencing_token: continued.fencing_token,
            });
            Ok(ResumedRow {
                continued,
                presence: Box::new(guest),
            })
        })
    }

    fn keep(&self, owner: &Owner, privates: Vec<PrivateRecord>, epoch: Option<Epoch>) -> Pending<bool, Unavailable> {
        let reach = self.reach(&owner.application);
        let owner = owner.clone();
        Box::pin(async move {
            let (shared, application, connection) = reach.ok_or(Unavailable)?;
            let mut call = connection.script(Script::DiscordKeep, &application.key(""));
            call.arg(owner.id.get())
                .arg(owner.fencing_token)
                .arg(PRIVATE_BYTES)
                .arg(millis(shared.options.presence()))
                .arg(epoch_or_none(epoch));
            for PrivateRecord { s, body } in &privates {
                match body {
                    PrivateBody::Event { name, d } => call.arg(format!("{s} {name}\n{d}")),
                    // A text without a name is the id of a guild.
                    PrivateBody::Guild(id) => call.arg(format!("{s} \n{id}")),
                    // An object without a name is the recipe of an answer.
                    PrivateBody::Answer(recipe) => {
                        let recipe = serde_json::to_string(recipe).map_err(|_| Unavailable)?;
                        call.arg(format!("{s} \n{recipe}"))
                    }
                };
            }
            let fields = connection.query(call).await.map_err(|_| Unavailable)?;
            // A session that the server has lost cannot be resumed, but keeps its connection.
            Ok(fields.word(0) != "superseded")
        })
    }

    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>) {
        let application = self.application(&owner.application);
        let epoch = application.and_then(|application| application.live.epoch_of(owner));
        self.shared.write_behind.checkpoint(owner, checkpoint, epoch);
    }

    fn set_live(&self, owner: &Owner, is_live: bool) {
        if let Some(application) = self.application(&owner.application) {
            application.live.note(owner, is_live);
        }
    }

    fn detach(&self, owner: &Owner, is_slow: bool) {
        self.set_live(owner, false);
        self.shared.write_behind.detach(owner, is_slow);
    }

    fn end(&self, owner: &Owner) {
        self.shared.write_behind.end(owner);
    }

    fn change_presence(&self, owner: &Owner, change: PresenceChange) -> bool {
        self.shared.presence_queue.change(owner, change)
    }

    fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Unavailable> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, connection) = reach.ok_or(Unavailable)?;
            guilds::one(&application, &connection, id).await.map(Some)
        })
    }

    fn guild_ids(
        &self,
        application: &Arc<str>,
        after: Option<u64>,
        most: usize,
    ) -> Pending<Option<Vec<u64>>, Unavailable> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, connection) = reach.ok_or(Unavailable)?;
            guilds::ids(&application, &connection, after, most).await.map(Some)
        })
    }

    fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError> {
        let reach = self.reach(application);
        let pages = Arc::clone(&self.pages);
        Box::pin(async move {
            let (_, application, connection) = reach.ok_or(ReadError::Unavailable)?;
            pages.read(application, connection, after).await
        })
    }
}

async fn open(
    shared: &RedisShared,
    application: &RedisApplication,
    record: &Record,
    presence: FollowGuard,
) -> Result<OpenedRow, JoinError> {
    let connection = shared.connection.borrow().clone().ok_or(JoinError::Unavailable)?;
    let kept = Kept::of(record);
    let text = serde_json::to_string(&kept).map_err(|_| JoinError::Unavailable)?;
    for _ in 0..ID_ATTEMPTS {
        // The lease windows guarantee that no other session has this id. It is not a member.
        let id = shared.lease.next(Instant::now())?;
        let mut call = application.call_log(&connection, Script::DiscordOpen);
        call.arg(id.get())
            .arg(&*record.key)
            .arg(record.filter_version)
            .arg(&text)
            .arg(millis(shared.options.presence()))
            .arg(record.filter.user)
            .arg(format!("{} {}", record.filter.shard.id, record.filter.shard.count));
        let fields = connection.query(call).await.map_err(|_| JoinError::Unavailable)?;
        match fields.word(0) {
            "ok" => {
                return Ok(OpenedRow {
                    id,
                    fencing_token: fields.number(3),
                    since: Position {
                        epoch: wire::epoch(fields.word(1)).map_err(|_| JoinError::Unavailable)?,
                        offset: fields.number(2),
                    },
                    presence,
                });
            }
            "taken" => {}
            _ => return Err(JoinError::Unavailable),
        }
    }
    Err(JoinError::IdTaken)
}

/// Parses the state that a session continues from. Returns `None` if this version of the node cannot read it.
fn continued(params: &ResumeParams, fields: &ReplyFields) -> Option<SessionContinuation> {
    let kept: Kept = serde_json::from_str(fields.word(5)).ok()?;
    let private = |text: &str| {
        let (head, d) = text.split_once('\n')?;
        let (s, name) = head.split_once(' ')?;
        let body = if name.is_empty() && d.starts_with('{') {
            PrivateBody::Answer(serde_json::from_str(d).ok()?)
        } else if name.is_empty() {
            PrivateBody::Guild(d.parse().ok()?)
        } else {
            PrivateBody::Event {
                name: name.into(),
                d: d.into(),
            }
        };
        Some((s.parse().ok()?, body))
    };
    Some(SessionContinuation {
        record: Arc::new(kept.record(params)?),
        fencing_token: fields.number(1),
        checkpoint: Checkpoint {
            s: fields.number(2),
            position: Position {
                epoch: wire::epoch(fields.word(3)).ok()?,
                offset: fields.number(4),
            },
        },
        end: wire::epoch(fields.word(6)).ok().map(|epoch| Position {
            epoch,
            offset: fields.number(7),
        }),
        privates: fields.rest(8).map(private).collect::<Option<BTreeMap<_, _>>>()?,
    })
}

impl Kept {
    fn of(record: &Record) -> Self {
        let Filter {
            intents,
            shard,
            user,
            withholds_content,
        } = record.filter;
        Self {
            intents: intents.bits(),
            shard: [shard.id, shard.count],
            user,
            withholds_content,
            version: record.version.number(),
            large_threshold: record.large_threshold,
        }
    }

    fn record(self, params: &ResumeParams) -> Option<Record> {
        let [id, count] = self.shard;
        Some(Record {
            application: Arc::clone(&params.application),
            key: Arc::clone(&params.key),
            filter: Filter {
                intents: Intents::from_bits(self.intents)?,
                shard: Shard { id, count },
                user: self.user,
                withholds_content: self.withholds_content,
            },
            filter_version: Filter::VERSION,
            version: Version::parse(&self.version.to_string())?,
            large_threshold: self.large_threshold,
        })
    }
}
