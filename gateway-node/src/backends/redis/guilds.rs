//! The guilds of an application, which are on the server: each as what it was and what has changed it since, which every
//! publication notes that changes one. Nobody needs to know a guild to note its change; who reads it puts the two
//! together, and from time to time a node writes down what they come to.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    RedisShared,
    application::RedisApplication,
    connection::{
        problem::RedisProblem,
        redis_connection::{RedisConnection, ReplyFields},
    },
    log::wire::NONE,
    scripts::Script,
};
use crate::{
    backplane::Unavailable,
    guilds::{Guilds, Journal},
};

/// How many bytes of guilds are read at once; one that is larger comes by itself.
const AT_ONCE: usize = 512 * 1024;
/// How often a node looks for a guild with much beside it.
const LOOK: Duration = Duration::from_secs(1);

/// A guild as the server has it.
struct Written {
    id: u64,
    /// What it is when nobody has folded anything into it meanwhile.
    fencing_token: u64,
    /// How many items the server has of it.
    items: usize,
    journal: Journal,
}

/// All guilds of an application.
///
/// # Errors
/// When the server cannot be asked.
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

/// One guild, if there is one.
///
/// # Errors
/// When the server cannot be asked.
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

/// The ids of guilds in their order.
///
/// # Errors
/// When the server cannot be asked.
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
    // Otherwise it is registered anew.
    if fields.word(0) == "ok" {
        Ok(fields)
    } else {
        Err(Unavailable)
    }
}

/// Takes in the guilds of an answer, as they are at the top of the log that it names.
fn take(guilds: &mut Guilds, application: &RedisApplication, fields: &ReplyFields) {
    for Written { id, journal, .. } in written(fields) {
        if !guilds.read(id, &journal, fields.number(2)) {
            log::error!(application = application.name, guild = id; "what redis has of a guild is none");
        }
    }
}

/// The guilds of an answer.
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

/// Folds what changed guilds into them, where it has become much.
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
            log::error!(application = application.name, guild = guild.id; "what redis has of a guild is none");
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
                // Somebody else was quicker.
                Ok(_) => {}
                Err(problem) => return Err(problem),
            }
        }
    }
}
