//! Reads older pages of the logs, each once for all sessions that wait for it.
//!
//! When a node dies, its sessions return together and read the same part of the log, each from its own position. Pages
//! start at fixed positions of the log, so that the sessions share them.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::{sync::Semaphore, time::timeout};

use super::wire;
use crate::{
    backends::redis::{
        application::RedisApplication,
        connection::redis_connection::{RedisConnection, ReplyFields},
        scripts::Script,
    },
    backplane::{LogRange, Position, Unavailable},
    resume::{LogPage, ReadError},
};

/// The number of entries in a page.
const PAGE: u64 = 64;
/// How many pages are read at once. Further reads wait.
const READERS: usize = 4;
/// How long a read waits for its turn.
const TURN: Duration = Duration::from_secs(2);

type PageResult = Result<Arc<LogPage>, ReadError>;
type PendingPage = BoxFuture<'static, PageResult>;
/// A log and a position in it.
type Beginning = (Arc<str>, Position);

/// The pages being read.
pub(in crate::backends::redis) struct Pages {
    reading: Mutex<FxHashMap<Beginning, WeakShared<PendingPage>>>,
    readers: Arc<Semaphore>,
}

impl Pages {
    /// Creates an empty set of pages.
    pub(in crate::backends::redis) fn new() -> Self {
        Self {
            reading: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Reads up to one page of the log after this position.
    ///
    /// # Errors
    /// When the log does not continue from there, or is unavailable.
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
        // The start of the page has been trimmed, or a shared page was requested when the log was shorter. Reads from
        // the exact position instead.
        let page = read(Arc::clone(&self.readers), application, connection, after).await?;
        Ok(page.behind(after.offset))
    }

    /// Returns the page that starts after this position. It may be in flight already.
    fn page(
        &self,
        application: &Arc<RedisApplication>,
        connection: &RedisConnection,
        after: Position,
    ) -> Shared<PendingPage> {
        let mut reading = self.reading.lock();
        let place = (Arc::clone(&application.name), after);
        if let Some(page) = reading.get(&place).and_then(WeakShared::upgrade) {
            // A page that is complete may be outdated: the log may have grown since.
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
        // The node has to register again.
        _ => Err(ReadError::Unavailable),
    }
}

/// Returns which part of a log can be read.
pub(in crate::backends::redis) async fn range(
    application: &RedisApplication,
    connection: &RedisConnection,
) -> Result<LogRange, Unavailable> {
    let mut query = redis::cmd("HMGET");
    query
        .arg(application.key("log:head"))
        .arg("epoch")
        .arg("trimmed")
        .arg("top");
    let head = connection.query(query).await.map_err(|_| Unavailable)?;
    // The head is written when a node registers.
    let epoch = wire::epoch(head.word(0)).map_err(|_| Unavailable)?;
    let at = |offset| Position { offset, epoch };
    Ok(LogRange {
        start: Some(at(head.number(1))),
        end: at(head.number(2)),
    })
}

/// Parses the entries of a reply. Returns `None` if they do not directly follow the position and each other.
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
    // An empty page is only valid at the end of the log.
    (!entries.is_empty() || through.offset == top).then_some(LogPage {
        entries,
        through,
        cut,
        top,
    })
}
