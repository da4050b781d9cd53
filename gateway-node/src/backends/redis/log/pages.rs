//! Older pages of the logs, each read once for all sessions that wait for it.
//!
//! Sessions that come back together, because their node has died, read the same part of the log from places of their own.
//! Pages begin at places of the log's, so that they meet.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use rustc_hash::FxHashMap;
use tokio::{sync::Semaphore, time::timeout};

use super::wire;
use crate::{
    backends::redis::{
        application::{Application, lock},
        connection::redis_connection::{Link, Words},
        scripts::Script,
    },
    backplane::Position,
    resume::{LogPage, ReadError},
};

/// How many entries a page has.
const PAGE: u64 = 64;
/// How many pages are read at once. Others wait.
const READERS: usize = 4;
/// How long they do.
const TURN: Duration = Duration::from_secs(2);

type Answer = Result<Arc<LogPage>, ReadError>;
type Reading = BoxFuture<'static, Answer>;
/// A log and a place in it.
type Beginning = (Arc<str>, Position);

/// The pages that are being read.
pub(in crate::backends::redis) struct Pages {
    reading: Mutex<FxHashMap<Beginning, WeakShared<Reading>>>,
    readers: Arc<Semaphore>,
}

impl Pages {
    /// None yet.
    pub(in crate::backends::redis) fn new() -> Self {
        Self {
            reading: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// What the log has behind this position: up to a page.
    ///
    /// # Errors
    /// When it does not lead on from there, or cannot be reached.
    pub(in crate::backends::redis) async fn read(
        &self,
        application: Arc<Application>,
        link: Link,
        after: Position,
    ) -> Result<LogPage, ReadError> {
        let start = Position {
            offset: after.offset - after.offset % PAGE,
            ..after
        };
        match self.page(&application, &link, start).await {
            Err(ReadError::Away) => return Err(ReadError::Away),
            Ok(page) if page.leads_to(after) => {
                let page = page.behind(after.offset);
                if !page.entries.is_empty() {
                    return Ok(page);
                }
            }
            Ok(_) | Err(ReadError::Severed) => {}
        }
        // Its beginning is not kept any more; or it was asked for when there was less, since when something may have come.
        let page = read(Arc::clone(&self.readers), application, link, after).await?;
        Ok(page.behind(after.offset))
    }

    /// The page that begins behind this position, which somebody may be reading already.
    fn page(&self, application: &Arc<Application>, link: &Link, after: Position) -> Shared<Reading> {
        let mut reading = lock(&self.reading);
        let place = (Arc::clone(&application.name), after);
        if let Some(page) = reading.get(&place).and_then(WeakShared::upgrade) {
            // What has been read may have become less than there is.
            if page.peek().is_none() {
                return page;
            }
        }
        reading.retain(|_, page| page.upgrade().is_some());
        let readers = Arc::clone(&self.readers);
        let page = read(readers, Arc::clone(application), link.clone(), after)
            .boxed()
            .shared();
        if let Some(weak) = page.downgrade() {
            reading.insert(place, weak);
        }
        page
    }
}

async fn read(readers: Arc<Semaphore>, application: Arc<Application>, link: Link, after: Position) -> Answer {
    let turn = timeout(TURN, readers.acquire_owned()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(ReadError::Away);
    };
    let mut call = application.call_log(&link, Script::Read);
    call.arg(after.epoch.to_string()).arg(after.offset).arg(PAGE);
    let words = link.ask(call).await.map_err(|_| ReadError::Away)?;
    match words.word(0) {
        "ok" => page(&application.name, after, words)
            .map(Arc::new)
            .ok_or(ReadError::Severed),
        "severed" => Err(ReadError::Severed),
        // It is registered anew.
        _ => Err(ReadError::Away),
    }
}

/// The entries of an answer. None where they do not stand right behind the position and each other.
fn page(application: &Arc<str>, after: Position, words: Words) -> Option<LogPage> {
    let epoch = wire::epoch(words.word(1)).ok()?;
    let cut = words.word(2).parse().ok();
    let top = words.number(3);
    let mut through = Position {
        epoch,
        offset: after.offset,
    };
    let mut entries = Vec::new();
    for (id, body) in words.pairs().skip(2) {
        let offset = wire::offset_of(&id).ok()?;
        if offset != through.offset + 1 {
            return None;
        }
        through.offset = offset;
        entries.push(wire::decode(application, through, body.as_bytes()).ok()?.entry);
    }
    // The end of the log is a place where entries are, or would be.
    (!entries.is_empty() || through.offset == top).then_some(LogPage { entries, through, cut })
}
