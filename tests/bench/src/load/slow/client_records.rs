//! What each client received, healthy or slow.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::super::{
    announcement::Announcement,
    client::{LoadClientEvent, ResumePoint},
    latencies::{Latencies, LatencySummary},
};

/// The close code of connections that the client itself closes.
const LEAVING: u16 = 1000;

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReaderKind {
    /// Reads everything.
    Healthy,
    /// Stops reading once it has identified, and reads again only at the end of the phase.
    Stopped,
    /// Stops reading until the node has evicted it, then reads what was sent before.
    Resuming,
    /// Resumes the session of a `Resuming` client and reads everything.
    Resumed,
    /// Reads a little now and then.
    Drip,
}

impl ReaderKind {
    /// Returns whether the client has to receive every event.
    const fn receives_all(self) -> bool {
        matches!(self, Self::Healthy | Self::Resumed)
    }
}

/// All clients of a run.
pub(super) struct ClientRecords {
    origin: Instant,
    clients: Vec<ClientRecord>,
    /// Latencies of healthy clients since the last [`ClientRecords::take`].
    latencies: Latencies,
    errors: SlowDeliveryErrors,
    is_over: bool,
}

struct ClientRecord {
    kind: ReaderKind,
    is_live: bool,
    /// The number of the next announcement that it must receive. Those before it were sent before it connected.
    next: u32,
    /// How its connection ended.
    ending: Option<String>,
    /// What its session can be resumed with.
    resume_point: Option<ResumePoint>,
}

/// Delivery errors of clients that have to receive everything.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SlowDeliveryErrors {
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
            errors: SlowDeliveryErrors::default(),
            is_over: false,
        }
    }

    /// Adds a client. The first announcement that it must receive is `next`.
    pub(super) fn add(&mut self, kind: ReaderKind, next: u32) {
        self.clients.push(ClientRecord {
            kind,
            is_live: false,
            next,
            ending: None,
            resume_point: None,
        });
    }

    /// Takes the sessions of `Resuming` clients that were evicted, each with the first announcement it has not
    /// received.
    pub(super) fn take_resumable(&mut self) -> Vec<(ResumePoint, u32)> {
        let again = self
            .clients
            .iter_mut()
            .filter(|client| client.kind == ReaderKind::Resuming);
        again
            .filter_map(|client| Some((client.resume_point.take()?, client.next)))
            .collect()
    }

    /// Counts the clients among `numbers` that have resumed their session and received everything before `next`.
    pub(super) fn resumed(&self, numbers: std::ops::Range<usize>, next: u32) -> usize {
        let is_whole =
            |client: &&ClientRecord| client.kind == ReaderKind::Resumed && client.is_live && client.next == next;
        self.clients[numbers].iter().filter(is_whole).count()
    }

    /// Returns whether every client has identified or has been disconnected.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |client: &ClientRecord| client.is_live || client.ending.is_some();
        self.clients.iter().all(settled)
    }

    /// Returns the numbers of the clients of this kind that are still connected.
    pub(super) fn connected(&self, kind: ReaderKind) -> Vec<usize> {
        let present = |(_, client): &(usize, &ClientRecord)| client.kind == kind && client.ending.is_none();
        self.clients
            .iter()
            .enumerate()
            .filter(present)
            .map(|(number, _)| number)
            .collect()
    }

    /// Returns whether every connected client that has to receive everything has received all announcements before
    /// `next`.
    pub(super) fn has_received(&self, next: u32) -> bool {
        let behind =
            |client: &ClientRecord| client.kind.receives_all() && client.ending.is_none() && client.next < next;
        !self.clients.iter().any(behind)
    }

    /// Counts the announcements before `next` that connected clients should have received and have not.
    pub(super) fn count_missed(&mut self, next: u32) {
        for client in &mut self.clients {
            if client.kind.receives_all() && client.ending.is_none() {
                self.errors.missed += next.saturating_sub(client.next);
                client.next = client.next.max(next);
            }
        }
    }

    /// Returns the latencies of healthy clients and the delivery errors since the last call.
    pub(super) fn take(&mut self) -> (LatencySummary, SlowDeliveryErrors) {
        let latencies = std::mem::take(&mut self.latencies);
        (latencies.summary(), std::mem::take(&mut self.errors))
    }

    /// Counts how the clients among `numbers` ended, by kind and ending.
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

    /// Returns how many clients there have been.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// From now on, a connection that ends is not counted as lost: the node is about to stop.
    pub(super) fn expect_end(&mut self) {
        self.is_over = true;
    }

    /// Records an event of client `number`.
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
                    self.errors.repeated += 1;
                } else {
                    self.errors.missed += number - client.next;
                    client.next = number + 1;
                }
            }
            LoadClientEvent::Ended(ended) => {
                if client.kind.receives_all() && !self.is_over && ended.code != Some(LEAVING) {
                    self.errors.lost += 1;
                }
                client.ending = Some(ended.to_string());
                client.resume_point = ended.resume_point;
            }
        }
    }
}
