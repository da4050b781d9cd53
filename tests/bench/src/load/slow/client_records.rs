//! What the clients have heard, healthy and slow ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::super::{
    announcement::Announcement,
    client::{LoadClientEvent, ResumePoint},
    latencies::{Latencies, LatencySummary},
};

/// The code of a close that the client has begun.
const LEAVING: u16 = 1000;

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReaderKind {
    /// Reads everything.
    Healthy,
    /// Reads nothing, until it is too late.
    Stopped,
    /// Reads nothing until it is evicted, then everything that it was sent before.
    Resuming,
    /// Goes on with the session of such a one, and reads everything.
    Resumed,
    /// Reads a little now and then.
    Drip,
}

impl ReaderKind {
    /// Whether it has to hear everything.
    const fn receives_all(self) -> bool {
        matches!(self, Self::Healthy | Self::Resumed)
    }
}

/// All clients that there have been.
pub(super) struct ClientRecords {
    origin: Instant,
    clients: Vec<ClientRecord>,
    /// Since the last [`ClientRecords::take`].
    latencies: Latencies,
    faults: SlowFaults,
    is_over: bool,
}

struct ClientRecord {
    kind: ReaderKind,
    is_live: bool,
    /// The number of the announcement that it must hear next; before the first, none.
    next: u32,
    /// How its connection ended.
    ending: Option<String>,
    /// What its session can be resumed with.
    resume_point: Option<ResumePoint>,
}

/// What clients did not hear as they should, who read everything.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SlowFaults {
    pub(super) missed: u32,
    pub(super) repeated: u32,
    pub(super) lost: u32,
}

impl ClientRecords {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            clients: Vec::new(),
            latencies: Latencies::default(),
            faults: SlowFaults::default(),
            is_over: false,
        }
    }

    /// One more client. What it hears has to begin with the announcement `next`.
    pub(super) fn add(&mut self, kind: ReaderKind, next: u32) {
        self.clients.push(ClientRecord {
            kind,
            is_live: false,
            next,
            ending: None,
            resume_point: None,
        });
    }

    /// The sessions of evicted clients that read again, each once, with the announcement that they go on with.
    pub(super) fn take_resumable(&mut self) -> Vec<(ResumePoint, u32)> {
        let again = self
            .clients
            .iter_mut()
            .filter(|client| client.kind == ReaderKind::Resuming);
        again
            .filter_map(|client| Some((client.resume_point.take()?, client.next)))
            .collect()
    }

    /// How many clients with these numbers have gone on with their session and heard everything before the announcement
    /// `next`.
    pub(super) fn resumed(&self, numbers: std::ops::Range<usize>, next: u32) -> usize {
        let is_whole =
            |client: &&ClientRecord| client.kind == ReaderKind::Resumed && client.is_live && client.next == next;
        self.clients[numbers].iter().filter(is_whole).count()
    }

    /// Whether everybody has identified, or is gone again.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |client: &ClientRecord| client.is_live || client.ending.is_some();
        self.clients.iter().all(settled)
    }

    /// The numbers of the clients with this part that are still connected.
    pub(super) fn connected(&self, kind: ReaderKind) -> Vec<usize> {
        let present = |(_, client): &(usize, &ClientRecord)| client.kind == kind && client.ending.is_none();
        self.clients
            .iter()
            .enumerate()
            .filter(present)
            .map(|(number, _)| number)
            .collect()
    }

    /// Whether everybody who is there and has to hear it has heard everything before the announcement `next`.
    pub(super) fn has_received(&self, next: u32) -> bool {
        let behind =
            |client: &ClientRecord| client.kind.receives_all() && client.ending.is_none() && client.next < next;
        !self.clients.iter().any(behind)
    }

    /// Counts what these have not heard of everything before the announcement `next`.
    pub(super) fn count_missed(&mut self, next: u32) {
        for client in &mut self.clients {
            if client.kind.receives_all() && client.ending.is_none() {
                self.faults.missed += next.saturating_sub(client.next);
                client.next = client.next.max(next);
            }
        }
    }

    /// Latencies of healthy clients, and faults, since the last call.
    pub(super) fn take(&mut self) -> (LatencySummary, SlowFaults) {
        let latencies = std::mem::take(&mut self.latencies);
        (latencies.summary(), std::mem::take(&mut self.faults))
    }

    /// How the clients with these numbers ended, by part and ending.
    pub(super) fn endings(&self, numbers: std::ops::Range<usize>) -> BTreeMap<String, u32> {
        let mut endings = BTreeMap::new();
        for client in &self.clients[numbers] {
            let ending = client.ending.as_deref().unwrap_or("still connected");
            let kind = match client.kind {
                ReaderKind::Healthy => "healthy",
                ReaderKind::Stopped => "stopped",
                ReaderKind::Resuming => "reads again",
                ReaderKind::Resumed => "resumed",
                ReaderKind::Drip => "drip",
            };
            *endings.entry(format!("{kind}: {ending}")).or_default() += 1;
        }
        endings
    }

    /// How many clients there have been.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The node is about to stop: whoever is cut off now is not lost.
    pub(super) fn expect_end(&mut self) {
        self.is_over = true;
    }

    /// Takes down what a client was told.
    pub(super) fn record(&mut self, number: usize, event: LoadClientEvent<'_>) {
        let client = &mut self.clients[number];
        match event {
            LoadClientEvent::Live => client.is_live = true,
            LoadClientEvent::Ack => {}
            LoadClientEvent::Announce(payload) => {
                let Some(Announcement { number, sent_us }) = Announcement::read(payload) else {
                    return;
                };
                if matches!(client.kind, ReaderKind::Stopped | ReaderKind::Drip) {
                    return;
                }
                if client.kind == ReaderKind::Healthy {
                    let sent = Duration::from_micros(sent_us);
                    self.latencies.add(self.origin.elapsed().saturating_sub(sent));
                }
                if number < client.next {
                    self.faults.repeated += 1;
                } else {
                    self.faults.missed += number - client.next;
                    client.next = number + 1;
                }
            }
            LoadClientEvent::Ended(ended) => {
                if client.kind.receives_all() && !self.is_over && ended.code != Some(LEAVING) {
                    self.faults.lost += 1;
                }
                client.ending = Some(ended.to_string());
                client.resume_point = ended.resume_point;
            }
        }
    }
}
