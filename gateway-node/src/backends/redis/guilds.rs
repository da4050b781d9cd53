//! The guilds of an application, which are on the server: each as what it was and what has changed it since, which every
//! publication notes that changes one. Nobody needs to know a guild to note its change; who reads it puts the two
//! together, and from time to time a node writes down what they come to.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Shared,
    application::Application,
    connection::{
        problem::Problem,
        redis_connection::{Link, Words},
    },
    log::wire::NONE,
    scripts::Script,
};
use crate::{
    backplane::Away,
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
    generation: u64,
    /// How many items the server has of it.
    items: usize,
    journal: Journal,
}

/// All guilds of an application.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn all(application: &Application, link: &Link) -> Result<Guilds, Away> {
    let mut guilds = Guilds::default();
    let mut after = NONE.to_owned();
    loop {
        let words = ask(application, link, "after", &after).await?;
        take(&mut guilds, application, &words);
        words.word(3).clone_into(&mut after);
        if after == NONE {
            return Ok(guilds);
        }
    }
}

/// One guild, if there is one.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn one(application: &Application, link: &Link, id: u64) -> Result<Guilds, Away> {
    let words = ask(application, link, "one", &id.to_string()).await?;
    let mut guilds = Guilds::default();
    take(&mut guilds, application, &words);
    Ok(guilds)
}

/// The ids of guilds in their order.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn ids(
    application: &Application,
    link: &Link,
    after: Option<u64>,
    most: usize,
) -> Result<Vec<u64>, Away> {
    let mut range = redis::cmd("ZRANGEBYLEX");
    range
        .arg(application.key("guild:order"))
        .arg(after.map_or_else(|| NONE.to_owned(), |after| format!("({after:020}")))
        .arg("+")
        .arg("LIMIT")
        .arg(0)
        .arg(most);
    let words = link.ask(range).await.map_err(|_| Away)?;
    Ok(words.rest(0).filter_map(|id| id.parse().ok()).collect())
}

async fn ask(application: &Application, link: &Link, which: &str, guild: &str) -> Result<Words, Away> {
    let mut call = application.call_log(link, Script::Guilds);
    call.arg(which).arg(guild).arg(AT_ONCE);
    let words = link.ask(call).await.map_err(|_| Away)?;
    // Otherwise it is registered anew.
    if words.word(0) == "ok" { Ok(words) } else { Err(Away) }
}

/// Takes in the guilds of an answer, as they are at the top of the log that it names.
fn take(guilds: &mut Guilds, application: &Application, words: &Words) {
    for Written { id, journal, .. } in written(words) {
        if !guilds.read(id, &journal, words.number(2)) {
            log::error!(application = application.name, guild = id; "what redis has of a guild is none");
        }
    }
}

/// The guilds of an answer.
fn written(words: &Words) -> Vec<Written> {
    let mut rest = words.rest(4);
    let mut guilds = Vec::new();
    let mut next = || {
        let id = rest.next()?.parse().ok()?;
        let generation = rest.next()?.parse().ok()?;
        let items: usize = rest.next()?.parse().ok()?;
        let picture = rest.next()?.to_owned();
        let changes = (1..items).map(|_| {
            let (name, d) = rest.next()?.split_once('\n')?;
            Some((name.to_owned(), d.to_owned()))
        });
        Some(Written {
            id,
            generation,
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
pub(super) async fn fold(shared: &Arc<Shared>, link: &Link) -> Problem {
    loop {
        sleep(LOOK).await;
        for application in shared.applications.values() {
            if let Err(problem) = fold_long(application, link).await {
                return problem;
            }
        }
    }
}

async fn fold_long(application: &Application, link: &Link) -> Result<(), Problem> {
    loop {
        let mut call = application.call_log(link, Script::Guilds);
        call.arg("long").arg(NONE).arg(AT_ONCE);
        let words = link.ask(call).await?;
        if words.word(0) != "ok" {
            return Err(link.fenced());
        }
        let Some(guild) = written(&words).pop() else {
            return Ok(());
        };
        let Some(picture) = guild.journal.fold() else {
            log::error!(application = application.name, guild = guild.id; "what redis has of a guild is none");
            continue;
        };
        let mut call = application.call(link, Script::GuildFold);
        call.arg(guild.id).arg(guild.generation).arg(guild.items).arg(picture);
        for answer in link.run([call]).await? {
            match answer {
                Ok(words) if words.word(0) == "fenced" => return Err(link.fenced()),
                // Somebody else was quicker.
                Ok(_) => {}
                Err(problem) => return Err(problem),
            }
        }
    }
}
