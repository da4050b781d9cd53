//! Session counts of the node, readable from any thread.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;
use shared::client_type::ClientType;

use super::SessionKind;

/// The live counters, which the shards update.
#[derive(Debug, Default)]
pub struct SessionCounts {
    open: AtomicUsize,
    identified: [AtomicUsize; ClientType::ALL.len()],
    discord: AtomicUsize,
}

/// A snapshot of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CountsSnapshot {
    /// Sessions that have identified as bots.
    pub bot: usize,
    /// Sessions that have identified as websites.
    pub website: usize,
    /// Sessions that have identified as services.
    pub service: usize,
    /// Discord sessions.
    pub discord: usize,
    /// Sessions that have not identified.
    pub unidentified: usize,
}

impl CountsSnapshot {
    /// Returns the counts with the names that metrics use.
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
    /// Returns a snapshot of the counts.
    pub fn snapshot(&self) -> CountsSnapshot {
        let of = |kind: ClientType| self.identified[kind as usize].load(Relaxed);
        let (bot, website, service) = (of(ClientType::Bot), of(ClientType::Website), of(ClientType::Service));
        let discord = self.discord.load(Relaxed);
        // Read last. If a session closes meanwhile, this can briefly be below the sum of the others.
        let open = self.open.load(Relaxed);
        CountsSnapshot {
            bot,
            website,
            service,
            discord,
            unidentified: open.saturating_sub(bot + website + service + discord),
        }
    }

    /// Returns the number of sessions, identified or not.
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
