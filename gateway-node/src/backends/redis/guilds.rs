//! The guilds of an application, stored in Redis: each as a snapshot and the changes since. Each publication that
//! changes a guild appends the change without reading the guild. A reader applies the changes to the snapshot, and from
//! time to time a node folds them into a new snapshot.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    application::RedisApplication,
    connection::{
        problem::RedisProblem,
        redis_connection::{RedisConnection, ReplyFields},
    },
    log::wire::NONE,
    scripts::Script,
    shared::RedisShared,
};
use crate::{
    backplane::Unavailable,
    guilds::{Guilds, Journal},
};

/// The maximum bytes of guilds read at once. A larger guild is read on its own.
const AT_ONCE: usize = 512 * 1024;
/// How often a node looks for a guild with many changes.
const LOOK: Duration = Duration::from_secs(1);

/// A guild as stored on the server.
struct Written {
    id: u64,
    /// The generation of the snapshot. It changes when a node folds changes into it.
    fencing_token: u64,
    /// The number of stored items: the snapshot and its changes.
    items: usize,
    journal: Journal,
}

/// Reads all guilds of an application.
///
/// # Errors
/// When the server cannot be reached.
pub(super) async fn all(application: &RedisApplication, connection: &RedisConnection) -> Result<Guilds, Unavailable> {
    let mut guilds = Guilds::default();
    let mut after = NONE.to_owned();
    loop {
        let fields = query(application, connection, "after", &after).await?;
        take(&mut guilds, application, &fields);
        fields.word(3).clone_into(&mut after);
        if after == NONE {
            return Ok(guilds);
        }
    }
}

/// Reads one guild, if it exists.
///
/// # Errors
/// When the server cannot be reached.
pub(super) async fn one(
    application: &RedisApplication,
    connection: &RedisConnection,
    id: u64,
) -> Result<Guilds, Unavailable> {
    let fields = query(application, connection, "one", &id.to_string()).await?;
    let mut guilds = Guilds::default();
    take(&mut guilds, application, &fields);
    Ok(guilds)
}

/// Reads ids of guilds, in order.
///
/// # Errors
/// When the server cannot be reached.
pub(super) async fn ids(
    application: &RedisApplication,
    connection: &RedisConnection,
    after: Option<u64>,
    most: usize,
) -> Result<Vec<u64>, Unavailable> {
    let mut range = redis::cmd("ZRANGEBYLEX");
    range
        .arg(application.key("guild:order"))
        .arg(after.map_or_else(|| NONE.to_owned(), |after| format!("({after:020}")))
        .arg("+")
        .arg("LIMIT")
        .arg(0)
        .arg(most);
    let fields = connection.query(range).await.map_err(|_| Unavailable)?;
    Ok(fields.rest(0).filter_map(|id| id.parse().ok()).collect())
}

async fn query(
    application: &RedisApplication,
    connection: &RedisConnection,
    which: &str,
    guild: &str,
) -> Result<ReplyFields, Unavailable> {
    let mut call = application.call_log(connection, Script::Guilds);
    call.arg(which).arg(guild).arg(AT_ONCE);
    let fields = connection.query(call).await.map_err(|_| Unavailable)?;
    // Any other result makes the node register again.
    if fields.word(0) == "ok" {
        Ok(fields)
    } else {
        Err(Unavailable)
    }
}

/// Adds the guilds of a reply, as they are at the log position given in it.
fn take(guilds: &mut Guilds, application: &RedisApplication, fields: &ReplyFields) {
    for Written { id, journal, .. } in written(fields) {
        if !guilds.read(id, &journal, fields.number(2)) {
            log::error!(application = application.name, guild = id; "a guild stored in redis is invalid");
        }
    }
}

/// Parses the guilds of a reply.
fn written(fields: &ReplyFields) -> Vec<Written> {
    let mut rest = fields.rest(4);
    let mut guilds = Vec::new();
    let mut next = || {
        let id = rest.next()?.parse().ok()?;
        let fencing_token = rest.next()?.parse().ok()?;
        let items: usize = rest.next()?.parse().ok()?;
        let picture = rest.next()?.to_owned();
        let changes = (1..items).map(|_| {
            let (name, d) = rest.next()?.split_once('\n')?;
            Some((name.to_owned(), d.to_owned()))
        });
        Some(Written {
            id,
            fencing_token,
            items,
            journal: Journal {
                changes: changes.collect::<Option<_>>()?,
                picture,
            },
        })
    };
    while let Some(guild) = next() {
        guilds.push(guild);
    }
    guilds
}

/// Folds the changes of guilds into their snapshots, where there are many.
pub(super) async fn fold(shared: &Arc<RedisShared>, connection: &RedisConnection) -> RedisProblem {
    loop {
        sleep(LOOK).await;
        for application in shared.applications.values() {
            if let Err(problem) = fold_long(application, connection).await {
                return problem;
            }
        }
    }
}

async fn fold_long(application: &RedisApplication, connection: &RedisConnection) -> Result<(), RedisProblem> {
    loop {
        let mut call = application.call_log(connection, Script::Guilds);
        call.arg("long").arg(NONE).arg(AT_ONCE);
        let fields = connection.query(call).await?;
        if fields.word(0) != "ok" {
            return Err(connection.fenced());
        }
        let Some(guild) = written(&fields).pop() else {
            return Ok(());
        };
        let Some(picture) = guild.journal.fold() else {
            log::error!(application = application.name, guild = guild.id; "a guild stored in redis is invalid");
            continue;
        };
        let mut call = application.call(connection, Script::GuildFold);
        call.arg(guild.id)
            .arg(guild.fencing_token)
            .arg(guild.items)
            .arg(picture);
        for answer in connection.run([call]).await? {
            match answer {
                Ok(fields) if fields.word(0) == "fenced" => return Err(connection.fenced()),
                // Another node was quicker.
                Ok(_) => {}
                Err(problem) => return Err(problem),
            }
        }
    }
}
