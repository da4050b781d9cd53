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
        application::{RedisApplication, lock},
        connection::redis_connection::{RedisConnection, ReplyFields},
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

type PageResult = Result<Arc<LogPage>, ReadError>;
type PendingPage = BoxFuture<'static, PageResult>;
/// A log and a place in it.
type Beginning = (Arc<str>, Position);

/// The pages that are being read.
pub(in crate::backends::redis) struct Pages {
    reading: Mutex<FxHashMap<Beginning, WeakShared<PendingPage>>>,
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
        application: Arc<RedisApplication>,
        connection: RedisConnection,
        after: Position,
    ) -> Result<LogPage, ReadError> {
        let start = Position {
            offset: after.offset - after.offset % PAGE,
            ..after
        };
        match self.page(&application, &connection, start).await {
            Err(ReadError::Unavailable) => return Err(ReadError::Unavailable),
            Ok(page) if page.leads_to(after) => {
                let page = page.behind(after.offset);
                if !page.entries.is_empty() {
                    return Ok(page);
                }
            }
            Ok(_) | Err(ReadError::Severed) => {}
        }
        // Its beginning is not kept any more; or it was asked for when there was less, since when something may have come.
        let page = read(Arc::clone(&self.readers), application, connection, after).await?;
        Ok(page.behind(after.offset))
    }

    /// The page that begins behind this position, which somebody may be reading already.
    fn page(
        &self,
        application: &Arc<RedisApplication>,
        connection: &RedisConnection,
        after: Position,
    ) -> Shared<PendingPage> {
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
        let page = read(readers, Arc::clone(application), connection.clone(), after)
            .boxed()
            .shared();
        if let Some(weak) = page.downgrade() {
            reading.insert(place, weak);
        }
        page
    }
}

async fn read(
    readers: Arc<Semaphore>,
    application: Arc<RedisApplication>,
    connection: RedisConnection,
    after: Position,
) -> PageResult {
    let turn = timeout(TURN, readers.acquire_owned()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(ReadError::Unavailable);
    };
    let mut call = application.call_log(&connection, Script::Read);
    call.arg(after.epoch.to_string()).arg(after.offset).arg(PAGE);
    let fields = connection.query(call).await.map_err(|_| ReadError::Unavailable)?;
    match fields.word(0) {
        "ok" => page(&application.name, after, fields)
            .map(Arc::new)
            .ok_or(ReadError::Severed),
        "severed" => Err(ReadError::Severed),
        // It is registered anew.
        _ => Err(ReadError::Unavailable),
    }
}

/// The entries of an answer. None where they do not stand right behind the position and each other.
fn page(application: &Arc<str>, after: Position, fields: ReplyFields) -> Option<LogPage> {
    let epoch = wire::epoch(fields.word(1)).ok()?;
    let cut = fields.word(2).parse().ok();
    let top = fields.number(3);
    let mut through = Position {
        epoch,
        offset: after.offset,
    };
    let mut entries = Vec::new();
    for (id, body) in fields.pairs().skip(2) {
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
