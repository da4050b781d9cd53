//! How many sessions the node has, readable from any thread.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;
use shared::client_type::ClientType;

/// Counters that the shards keep.
#[derive(Debug, Default)]
pub struct Census {
    open: AtomicUsize,
    identified: [AtomicUsize; ClientType::ALL.len()],
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Headcount {
    /// Sessions that have identified as a bot.
    pub bot: usize,
    /// As a website.
    pub website: usize,
    /// As a service.
    pub service: usize,
    /// Sessions that have not identified.
    pub unidentified: usize,
}

impl Headcount {
    /// The counts under the names of the metrics.
    pub const fn by_kind(self) -> [(&'static str, usize); 4] {
        [
            ("bot", self.bot),
            ("website", self.website),
            ("service", self.service),
            ("none", self.unidentified),
        ]
    }
}

impl Census {
    /// The counts now.
    pub fn headcount(&self) -> Headcount {
        let of = |kind: ClientType| self.identified[kind as usize].load(Relaxed);
        let (bot, website, service) = (of(ClientType::Bot), of(ClientType::Website), of(ClientType::Service));
        // Read last, and after a session that has just gone: it may be below the others for a moment.
        let open = self.open.load(Relaxed);
        Headcount {
            bot,
            website,
            service,
            unidentified: open.saturating_sub(bot + website + service),
        }
    }

    /// Sessions, identified or not.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn identified(&self, kind: ClientType) {
        self.identified[kind as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, kind: Option<ClientType>) {
        if let Some(kind) = kind {
            self.identified[kind as usize].fetch_sub(1, Relaxed);
        }
        self.open.fetch_sub(1, Relaxed);
    }
}
