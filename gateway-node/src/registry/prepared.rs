//! An entry and its frames, each made at most once however many sessions get it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use shared::{
    client_type::ClientType,
    compression::deflate,
    v1::{Encoding, payload},
};
use tokio::time::Instant;

use super::room::{Common, Member};

use crate::{
    cluster::{Audience, Entry},
    metrics::Metrics,
    transport::{Batch, binary_frame, text_frame},
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

    /// Whether it is for everybody of this type.
    pub(super) fn is_for_all(&self, kind: ClientType) -> bool {
        matches!(self.entry.audience, Audience::Types(kinds) if kinds.contains(kind))
    }

    /// Gives it to one session, if it is for it.
    pub(super) fn give(&self, common: Common, member: &Member, now: Instant) -> bool {
        let admitted = self.entry.admits(member.id, common.kind, member.since);
        if admitted {
            // What does not fit evicts the session; its driver sees to that.
            member
                .outbox
                .deliver(&Batch::from(self.frame(common.encoding).clone()), now);
        }
        admitted
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
