//! An entry and its frames, each made at most once however many sessions get it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use shared::{
    client_type::ClientType,
    compression::{Level, deflate},
    discord::{Content, without_content},
    v1::{Encoding, payload},
};
use smallvec::SmallVec;

use super::{
    dispatch_encoder::{LogCursor, WireFormat},
    encoded_dispatch::EncodedDispatch,
};
use crate::{
    backplane::{Audience, Entry},
    metrics::Metrics,
    transport::{binary_frame, text_frame},
};

/// What was made for a coding and a content; nothing where it cannot be said.
type Made = (WireFormat, Content, Option<Arc<EncodedDispatch>>);

/// What the shards share of one event.
pub(crate) struct EncodedEvent {
    pub(crate) entry: Entry,
    /// Its number among the entries of its log that this node has seen.
    pub(crate) number: u64,
    text: OnceLock<Bytes>,
    zlib: OnceLock<Bytes>,
    encoded: Mutex<SmallVec<[Made; 1]>>,
    /// How hard zlib tries.
    level: Level,
    metrics: Arc<Metrics>,
}

impl EncodedEvent {
    pub(crate) fn new(entry: Entry, number: u64, level: Level, metrics: Arc<Metrics>) -> Self {
        Self {
            entry,
            number,
            text: OnceLock::new(),
            zlib: OnceLock::new(),
            encoded: Mutex::new(SmallVec::new()),
            level,
            metrics,
        }
    }

    /// Where it stands.
    pub(crate) const fn cursor(&self) -> LogCursor {
        LogCursor {
            number: self.number,
            position: self.entry.position,
        }
    }

    /// What Discord sessions of this coding share of it; none where it cannot be said.
    pub(crate) fn encoded(&self, wire_format: WireFormat, content: Content) -> Option<Arc<EncodedDispatch>> {
        let mut made = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Whether one walk can deliver both: they are for all of some types, and of the same application.
    pub(crate) fn is_broadcast_with(&self, other: &Self) -> bool {
        let is_broadcast = |event: &Self| matches!(event.entry.audience, Audience::Types(_));
        is_broadcast(self) && is_broadcast(other) && self.entry.application == other.entry.application
    }

    /// Whether it is for everybody of this type.
    pub(crate) fn is_for_all(&self, kind: ClientType) -> bool {
        matches!(self.entry.audience, Audience::Types(kinds) if kinds.contains(kind))
    }

    /// The frame for sessions of this encoding. Server frames are unmasked, so the header is shared as well.
    pub(crate) fn frame(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Text => self.text.get_or_init(|| {
                self.metrics.encoded_text.inc();
                text_frame(self.payload().as_bytes())
            }),
            Encoding::Zlib => self.zlib.get_or_init(|| {
                self.metrics.encoded_zlib.inc();
                binary_frame(&deflate(self.payload().as_bytes(), self.level))
            }),
        }
    }

    fn payload(&self) -> String {
        payload::event(&self.entry.name, &self.entry.d)
    }
}
