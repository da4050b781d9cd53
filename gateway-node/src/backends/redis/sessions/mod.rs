//! Discord sessions that any node can resume: what is known of them is on the server, changed by scripts alone.
//!
//! A session belongs to no node. Who has it says so with every heartbeat; it expires when nobody does.

pub(in crate::backends::redis) mod live;
pub(in crate::backends::redis) mod presence_publisher;
#[cfg(test)]
pub(in crate::backends::redis) mod tests;
pub(in crate::backends::redis) mod write_behind;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use shared::{
    discord::{Filter, Intents, Shard, Version},
    session_id::SessionId,
};
use tokio::time::{Instant, sleep};

use self::write_behind::epoch_or_none;
use super::{
    Application, RedisBackplane, Shared,
    connection::redis_connection::{Link, Words},
    guilds,
    log::{pages::Pages, wire},
    membership::maintenance::millis,
    scripts::Script,
};
use crate::{
    backplane::{Away, Epoch, JoinError, Owner, Pending, Position},
    guilds::Guilds,
    resume::{
        Begun, Checkpoint, Continued, DAY, LogPage, PRIVATE_BYTES, Presence, Private, ReadError, Record, ResumeError,
        Resuming, SLOW_CUTS, StartBudget, StartLimits, Store, Taken, WINDOW, What, Wish,
    },
};

/// How often another id is tried when the generated one is taken.
const ID_ATTEMPTS: usize = 3;
/// How long a session waits until its node follows the log.
const FOLLOWING: Duration = Duration::from_secs(5);
/// How often it looks.
const GLANCE: Duration = Duration::from_millis(5);
/// The Discord sessions on a server.
pub struct RedisSessions {
    shared: Arc<Shared>,
    pages: Arc<Pages>,
}

/// A record as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    intents: u64,
    shard: [u32; 2],
    user: u64,
    withholds_content: bool,
    version: u8,
    large_threshold: u16,
}

/// Keeps the log followed for a session that is connected here.
struct Guest {
    shared: Arc<Shared>,
    application: Arc<Application>,
}

impl Guest {
    fn new(shared: &Arc<Shared>, application: &Arc<Application>) -> Self {
        application.members.add_guest();
        shared.receivers_changed.notify_one();
        Self {
            shared: Arc::clone(shared),
            application: Arc::clone(application),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.application.members.remove_guest();
        self.shared.receivers_changed.notify_one();
    }
}

impl RedisSessions {
    /// Those on the server of this backplane.
    pub fn new(backplane: &RedisBackplane) -> Self {
        Self {
            shared: Arc::clone(&backplane.shared),
            pages: Arc::new(Pages::new()),
        }
    }

    fn application(&self, name: &str) -> Option<Arc<Application>> {
        self.shared.applications.get(name).cloned()
    }

    /// What a call needs; none without a server.
    fn reach(&self, name: &str) -> Option<(Arc<Shared>, Arc<Application>, Link)> {
        let link = self.shared.link.borrow().clone()?;
        Some((Arc::clone(&self.shared), self.application(name)?, link))
    }
}

impl Store for RedisSessions {
    fn start(&self, application: &Arc<str>, shard: Shard, limits: StartLimits) -> Pending<bool, Away> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, link) = reach.ok_or(Away)?;
            let concurrency = limits.max_concurrency.max(1);
            let mut call = link.script(Script::DiscordStart, &application.key(""));
            call.arg(shard.id % concurrency)
                .arg(concurrency)
                .arg(millis(WINDOW))
                .arg(limits.per_day)
                .arg(millis(DAY));
            let words = link.ask(call).await.map_err(|_| Away)?;
            Ok(words.word(0) == "ok")
        })
    }

    fn start_budget(&self, application: &Arc<str>, limits: StartLimits) -> Pending<StartBudget, Away> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, link) = reach.ok_or(Away)?;
            let command = |name| {
                let mut command = redis::cmd(name);
                command.arg(application.key("discord:starts"));
                command
            };
            let answers = link.run([command("GET"), command("PTTL")]).await.map_err(|_| Away)?;
            let Ok([Ok(started), Ok(left)]) = <[_; 2]>::try_from(answers) else {
                return Err(Away);
            };
            let started = u32::try_from(started.number(0)).unwrap_or(u32::MAX);
            Ok(StartBudget {
                remaining: limits.per_day.saturating_sub(started),
                reset_after: Duration::from_millis(left.number(0)),
            })
        })
    }

    fn open(&self, record: Arc<Record>) -> Pending<Begun, JoinError> {
        let application = self.application(&record.application);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let application = application.ok_or(JoinError::Away)?;
            let guest = Guest::new(&shared, &application);
            // What is appended after the session is written down is delivered here.
            let until = Instant::now() + FOLLOWING;
            while !application.members.is_followed() {
                if Instant::now() >= until {
                    return Err(JoinError::Away);
                }
                sleep(GLANCE).await;
            }
            open(&shared, &application, &record, Box::new(guest)).await
        })
    }

    fn resume(&self, resuming: Resuming) -> Pending<Taken, ResumeError> {
        let reach = self.reach(&resuming.application);
        Box::pin(async move {
            let (shared, application, link) = reach.ok_or(ResumeError::Away)?;
            let guest = Guest::new(&shared, &application);
            let mut call = link.script(Script::DiscordResume, &application.key(""));
            call.arg(resuming.id.get())
                .arg(&*resuming.key)
                .arg(Filter::VERSION)
                // Whoever resumes has seen the first dispatch, even if it does not count it.
                .arg(resuming.seq.max(1))
                .arg(SLOW_CUTS)
                .arg(millis(shared.options.resume_window))
                .arg(millis(shared.options.presence()));
            let words = link.ask(call).await.map_err(|_| ResumeError::Away)?;
            if words.word(0) != "ok" {
                return Err(ResumeError::Gone);
            }
            let continued = continued(&resuming, &words).ok_or(ResumeError::Gone)?;
            shared.deliver.superseded(&Owner {
                application: resuming.application,
                id: resuming.id,
                generation: continued.generation,
            });
            Ok(Taken {
                continued,
                presence: Box::new(guest),
            })
        })
    }

    fn keep(&self, owner: &Owner, privates: Vec<Private>, epoch: Option<Epoch>) -> Pending<bool, Away> {
        let reach = self.reach(&owner.application);
        let owner = owner.clone();
        Box::pin(async move {
            let (shared, application, link) = reach.ok_or(Away)?;
            let mut call = link.script(Script::DiscordKeep, &application.key(""));
            call.arg(owner.id.get())
                .arg(owner.generation)
                .arg(PRIVATE_BYTES)
                .arg(millis(shared.options.presence()))
                .arg(epoch_or_none(epoch));
            for Private { s, what } in &privates {
                match what {
                    What::Event { name, d } => call.arg(format!("{s} {name}\n{d}")),
                    // Without a name it is the id of a guild.
                    What::Guild(id) => call.arg(format!("{s} \n{id}")),
                    // Without a name and an object, it is what the answer is made from.
                    What::Answer(recipe) => {
                        let recipe = serde_json::to_string(recipe).map_err(|_| Away)?;
                        call.arg(format!("{s} \n{recipe}"))
                    }
                };
            }
            let words = link.ask(call).await.map_err(|_| Away)?;
            // One that the server has forgotten cannot be resumed, but has its connection.
            Ok(words.word(0) != "superseded")
        })
    }

    fn checkpoint(&self, owner: &Owner, checkpoint: Option<Checkpoint>) {
        let application = self.application(&owner.application);
        let epoch = application.and_then(|application| application.live.epoch_of(owner));
        self.shared.notes.checkpoint(owner, checkpoint, epoch);
    }

    fn is_live(&self, owner: &Owner, is_live: bool) {
        if let Some(application) = self.application(&owner.application) {
            application.live.note(owner, is_live);
        }
    }

    fn detach(&self, owner: &Owner, is_slow: bool) {
        self.is_live(owner, false);
        self.shared.notes.detach(owner, is_slow);
    }

    fn end(&self, owner: &Owner) {
        self.shared.notes.end(owner);
    }

    fn appear(&self, owner: &Owner, wish: Wish) -> bool {
        self.shared.appearances.wish(owner, wish)
    }

    fn guild(&self, application: &Arc<str>, id: u64) -> Pending<Option<Guilds>, Away> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, link) = reach.ok_or(Away)?;
            guilds::one(&application, &link, id).await.map(Some)
        })
    }

    fn guild_ids(&self, application: &Arc<str>, after: Option<u64>, most: usize) -> Pending<Option<Vec<u64>>, Away> {
        let reach = self.reach(application);
        Box::pin(async move {
            let (_, application, link) = reach.ok_or(Away)?;
            guilds::ids(&application, &link, after, most).await.map(Some)
        })
    }

    fn read(&self, application: &Arc<str>, after: Position) -> Pending<LogPage, ReadError> {
        let reach = self.reach(application);
        let pages = Arc::clone(&self.pages);
        Box::pin(async move {
            let (_, application, link) = reach.ok_or(ReadError::Away)?;
            pages.read(application, link, after).await
        })
    }
}

async fn open(
    shared: &Shared,
    application: &Application,
    record: &Record,
    presence: Presence,
) -> Result<Begun, JoinError> {
    let link = shared.link.borrow().clone().ok_or(JoinError::Away)?;
    let kept = Kept::of(record);
    let text = serde_json::to_string(&kept).map_err(|_| JoinError::Away)?;
    for _ in 0..ID_ATTEMPTS {
        // The windows of leases make it one that no other session has; no membership holds it.
        let id = shared.lease.next(Instant::now())?;
        let mut call = application.call_log(&link, Script::DiscordOpen);
        call.arg(id.get())
            .arg(&*record.key)
            .arg(record.filter_version)
            .arg(&text)
            .arg(millis(shared.options.presence()))
            .arg(record.filter.user)
            .arg(format!("{} {}", record.filter.shard.id, record.filter.shard.count));
        let words = link.ask(call).await.map_err(|_| JoinError::Away)?;
        match words.word(0) {
            "ok" => {
                return Ok(Begun {
                    id,
                    generation: words.number(3),
                    since: Position {
                        epoch: wire::epoch(words.word(1)).map_err(|_| JoinError::Away)?,
                        offset: words.number(2),
                    },
                    presence,
                });
            }
            "taken" => {}
            _ => return Err(JoinError::Away),
        }
    }
    Err(JoinError::IdTaken)
}

/// What a session goes on with; none where this version of the node cannot read it.
fn continued(resuming: &Resuming, words: &Words) -> Option<Continued> {
    let kept: Kept = serde_json::from_str(words.word(5)).ok()?;
    let private = |text: &str| {
        let (head, d) = text.split_once('\n')?;
        let (s, name) = head.split_once(' ')?;
        let what = if name.is_empty() && d.starts_with('{') {
            What::Answer(serde_json::from_str(d).ok()?)
        } else if name.is_empty() {
            What::Guild(d.parse().ok()?)
        } else {
            What::Event {
                name: name.into(),
                d: d.into(),
            }
        };
        Some((s.parse().ok()?, what))
    };
    Some(Continued {
        record: Arc::new(kept.record(resuming)?),
        generation: words.number(1),
        checkpoint: Checkpoint {
            s: words.number(2),
            position: Position {
                epoch: wire::epoch(words.word(3)).ok()?,
                offset: words.number(4),
            },
        },
        end: wire::epoch(words.word(6)).ok().map(|epoch| Position {
            epoch,
            offset: words.number(7),
        }),
        privates: words.rest(8).map(private).collect::<Option<BTreeMap<_, _>>>()?,
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

    fn record(self, resuming: &Resuming) -> Option<Record> {
        let [id, count] = self.shard;
        Some(Record {
            application: Arc::clone(&resuming.application),
            key: Arc::clone(&resuming.key),
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

/// The session and the generation in a message about a new owner; none where it is about something else.
pub(super) fn owner_in(message: &[u8]) -> Option<(SessionId, u64)> {
    let (id, generation) = str::from_utf8(message).ok()?.strip_prefix("owner ")?.split_once(' ')?;
    Some((SessionId::from_raw(id.parse().ok()?), generation.parse().ok()?))
}
