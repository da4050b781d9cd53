//! How many sessions the node has, readable from any thread.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;
use shared::client_type::ClientType;

use super::SessionKind;

/// Counters that the shards keep.
#[derive(Debug, Default)]
pub struct SessionCounts {
    open: AtomicUsize,
    identified: [AtomicUsize; ClientType::ALL.len()],
    discord: AtomicUsize,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CountsSnapshot {
    /// Sessions that have identified as a bot.
    pub bot: usize,
    /// As a website.
    pub website: usize,
    /// As a service.
    pub service: usize,
    /// Discord sessions.
    pub discord: usize,
    /// Sessions that have not identified.
    pub unidentified: usize,
}

impl CountsSnapshot {
    /// The counts under the names of the metrics.
    pub const fn by_kind(self) -> [(&'static str, usize); 5] {
        [
            ("bot", self.bot),
            ("website", self.website),
            ("service", self.service),
            ("discord", self.discord),
            ("none", self.unidentified),
        ]
    }
}

impl SessionCounts {
    /// The counts now.
    pub fn snapshot(&self) -> CountsSnapshot {
        let of = |kind: ClientType| self.identified[kind as usize].load(Relaxed);
        let (bot, website, service) = (of(ClientType::Bot), of(ClientType::Website), of(ClientType::Service));
        let discord = self.discord.load(Relaxed);
        // Read last, and after a session that has just gone: it may be below the others for a moment.
        let open = self.open.load(Relaxed);
        CountsSnapshot {
            bot,
            website,
            service,
            discord,
            unidentified: open.saturating_sub(bot + website + service + discord),
        }
    }

    /// Sessions, identified or not.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn identified(&self, kind: SessionKind) {
        self.of(kind).fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, kind: Option<SessionKind>) {
        if let Some(kind) = kind {
            self.of(kind).fetch_sub(1, Relaxed);
        }
        self.open.fetch_sub(1, Relaxed);
    }

    const fn of(&self, kind: SessionKind) -> &AtomicUsize {
        match kind {
            SessionKind::V1(kind) => &self.identified[kind as usize],
            SessionKind::Discord => &self.discord,
        }
    }
}
