//! An entry and its frames, each encoded at most once for all sessions.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use shared::{
    client_type::ClientType,
    compression::{Level, deflate},
    discord::{Content, without_content},
    v1::{
        Encoding,
        payload::{self, EventFields, GuildCount},
    },
};
use smallvec::SmallVec;

use super::{encoded_dispatch::EncodedDispatch, log_cursor::LogCursor, wire_format::WireFormat};
use crate::{
    backplane::{Audience, Entry},
    metrics::Metrics,
    transport::{binary_frame, text_frame},
};

/// The encoding for one wire format and content; `None` if the data cannot be represented in it.
type Made = (WireFormat, Content, Option<Arc<EncodedDispatch>>);

/// What the shards have found that looked for the receiver of a request.
#[derive(Default)]
struct Looked {
    shards: usize,
    found: FoundReceivers,
}

/// The shards that have receivers for a request: the index of each, and how many it has.
pub(crate) type FoundReceivers = SmallVec<[(usize, usize); 4]>;

/// A log entry with its lazily encoded frames, shared by all shards.
pub(crate) struct EncodedEvent {
    pub(crate) entry: Entry,
    /// Its node-local number: it counts the entries of its log that this node has seen.
    pub(crate) number: u64,
    /// Whether it has the guild counts, which sessions of every type can ask for.
    pub(crate) is_counts: bool,
    /// Whether the v1 sessions of this node must not receive it: they have it, or it is not for them.
    pub(crate) is_skipped: bool,
    text: OnceLock<Bytes>,
    zlib: OnceLock<Bytes>,
    text_at: OnceLock<Bytes>,
    zlib_at: OnceLock<Bytes>,
    encoded: Mutex<SmallVec<[Made; 1]>>,
    /// `None` if it is no request.
    looked: Option<Box<Mutex<Looked>>>,
    /// The zlib compression level.
    level: Level,
    metrics: Arc<Metrics>,
}

impl EncodedEvent {
    pub(crate) fn new(entry: Entry, number: u64, level: Level, metrics: Arc<Metrics>) -> Self {
        let looked = entry.request().map(|_| Box::default());
        Self {
            is_counts: &*entry.name == GuildCount::NAME,
            entry,
            number,
            is_skipped: false,
            text: OnceLock::new(),
            zlib: OnceLock::new(),
            text_at: OnceLock::new(),
            zlib_at: OnceLock::new(),
            encoded: Mutex::new(SmallVec::new()),
            looked,
            level,
            metrics,
        }
    }

    /// Marks it as one that the v1 sessions of this node must not receive.
    pub(crate) fn skipped(mut self) -> Self {
        self.is_skipped = true;
        self
    }

    /// Returns its log cursor.
    pub(crate) const fn cursor(&self) -> LogCursor {
        LogCursor {
            number: self.number,
            position: self.entry.position,
        }
    }

    /// Returns the shared part of the dispatch for Discord sessions with this wire format, or `None` if the data cannot
    /// be represented in it.
    pub(crate) fn encoded(&self, wire_format: WireFormat, content: Content) -> Option<Arc<EncodedDispatch>> {
        let mut made = self.encoded.lock();
        let known = made.iter().find(|(of, how, _)| *of == wire_format && *how == content);
        if let Some((_, _, encoded)) = known {
            return encoded.clone();
        }
        self.metrics.encoded_discord.inc();
        let (name, d) = (&self.entry.name, &self.entry.d);
        let encoded = match content {
            Content::Whole => EncodedDispatch::new(wire_format, name, d),
            Content::Withheld => without_content(d)
                .ok()
                .and_then(|d| EncodedDispatch::new(wire_format, name, &d)),
        };
        let encoded = encoded.map(Arc::new);
        made.push((wire_format, content, encoded.clone()));
        encoded
    }

    /// Returns whether one pass can deliver both entries: both are broadcasts of the same application.
    pub(crate) fn is_broadcast_with(&self, other: &Self) -> bool {
        let is_broadcast = |event: &Self| matches!(event.entry.audience, Audience::Types(_));
        is_broadcast(self) && is_broadcast(other) && self.entry.application == other.entry.application
    }

    /// Returns whether all sessions of this type receive it.
    pub(crate) fn is_for_all(&self, kind: ClientType) -> bool {
        !self.is_skipped && matches!(self.entry.audience, Audience::Types(kinds) if kinds.contains(kind))
    }

    /// Records that the shard `index` of `shards` has this many receivers for a request. Returns what all of them have
    /// found, if it is the last one, and `None` to the others.
    pub(crate) fn look(&self, index: usize, receivers: usize, shards: usize) -> Option<FoundReceivers> {
        let mut looked = self.looked.as_ref()?.lock();
        looked.shards += 1;
        if receivers > 0 {
            looked.found.push((index, receivers));
        }
        // Whichever was first, the order is the same each time.
        looked.found.sort_unstable();
        (looked.shards == shards).then(|| std::mem::take(&mut looked.found))
    }

    /// Returns the frame for v1 sessions with this encoding, with its position in the log if they are told. Server frames
    /// are unmasked, so the frame header is shared too.
    pub(crate) fn frame(&self, encoding: Encoding, has_position: bool) -> &Bytes {
        // The counts are no event of the application, and a job has no place in the log.
        let has_position = has_position && !self.is_counts && !matches!(self.entry.audience, Audience::Job(_));
        let frame = match (encoding, has_position) {
            (Encoding::Text, false) => &self.text,
            (Encoding::Zlib, false) => &self.zlib,
            (Encoding::Text, true) => &self.text_at,
            (Encoding::Zlib, true) => &self.zlib_at,
        };
        frame.get_or_init(|| self.encode_frame(encoding, has_position))
    }

    fn encode_frame(&self, encoding: Encoding, has_position: bool) -> Bytes {
        let Entry {
            name,
            user,
            d,
            position,
            ..
        } = &self.entry;
        let position = has_position.then(|| position.to_string());
        let (receipt, attempt) = match &self.entry.audience {
            Audience::Request { request, .. } => (Some(request.receipt.to_string()), None),
            Audience::Job(job) => (Some(job.delivery.to_string()), Some(job.attempt)),
            _ => (None, None),
        };
        let fields = EventFields {
            receipt: receipt.as_deref(),
            attempt,
            position: position.as_deref(),
            user: user.as_ref(),
        };
        let payload = payload::event_with(name, &fields, d);
        match encoding {
            Encoding::Text => {
                self.metrics.encoded_text.inc();
                text_frame(payload.as_bytes())
            }
            Encoding::Zlib => {
                self.metrics.encoded_zlib.inc();
                binary_frame(&deflate(payload.as_bytes(), self.level))
            }
        }
    }
}
