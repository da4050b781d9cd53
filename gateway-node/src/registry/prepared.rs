//! An entry and its frames, each made at most once however many sessions get it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use shared::{
    compression::deflate,
    v1::{Encoding, payload},
};

use crate::{
    cluster::{Audience, Entry},
    metrics::Metrics,
    transport::{binary_frame, text_frame},
};

/// What the shards share of one event.
pub(super) struct Prepared {
    pub(super) entry: Entry,
    text: OnceLock<Bytes>,
    zlib: OnceLock<Bytes>,
    metrics: Arc<Metrics>,
}

impl Prepared {
    pub(super) const fn new(entry: Entry, metrics: Arc<Metrics>) -> Self {
        Self {
            entry,
            text: OnceLock::new(),
            zlib: OnceLock::new(),
            metrics,
        }
    }

    /// Whether one walk can deliver both: they are for all of some types, and of the same application.
    pub(super) fn is_broadcast_with(&self, other: &Self) -> bool {
        let is_broadcast = |prepared: &Self| matches!(prepared.entry.audience, Audience::Types(_));
        is_broadcast(self) && is_broadcast(other) && self.entry.application == other.entry.application
    }

    /// The frame for sessions of this encoding. Server frames are unmasked, so the header is shared as well.
    pub(super) fn frame(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Text => self.text.get_or_init(|| {
                self.metrics.encoded_text.inc();
                text_frame(self.payload().as_bytes())
            }),
            Encoding::Zlib => self.zlib.get_or_init(|| {
                self.metrics.encoded_zlib.inc();
                binary_frame(&deflate(self.payload().as_bytes()))
            }),
        }
    }

    fn payload(&self) -> String {
        payload::event(&self.entry.name, &self.entry.d)
    }
}
