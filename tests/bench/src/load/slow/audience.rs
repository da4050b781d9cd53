//! What the clients have heard, healthy and slow ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::super::{
    announcement::Announcement,
    latencies::{Latencies, Summary},
    peer::{Heard, Left},
};

/// The code of a close that the client has begun.
const LEAVING: u16 = 1000;

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
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

impl Part {
    /// Whether it has to hear everything.
    const fn hears_all(self) -> bool {
        matches!(self, Self::Healthy | Self::Resumed)
    }
}

/// All clients that there have been.
pub(super) struct Audience {
    origin: Instant,
    clients: Vec<Client>,
    /// Since the last [`Audience::take`].
    latencies: Latencies,
    faults: Faults,
    is_over: bool,
}

struct Client {
    part: Part,
    is_live: bool,
    /// The number of the announcement that it must hear next; before the first, none.
    next: u32,
    /// How its connection ended.
    ending: Option<String>,
    /// What its session can be resumed with.
    left: Option<Left>,
}

/// What clients did not hear as they should, who read everything.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    pub(super) missed: u32,
    pub(super) repeated: u32,
    pub(super) lost: u32,
}

impl Audience {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            clients: Vec::new(),
            latencies: Latencies::default(),
            faults: Faults::default(),
            is_over: false,
        }
    }

    /// One more client. What it hears has to begin with the announcement `next`.
    pub(super) fn admit(&mut self, part: Part, next: u32) {
        self.clients.push(Client {
            part,
            is_live: false,
            next,
            ending: None,
            left: None,
        });
    }

    /// The sessions of evicted clients that read again, each once, with the announcement that they go on with.
    pub(super) fn take_left(&mut self) -> Vec<(Left, u32)> {
        let again = self.clients.iter_mut().filter(|client| client.part == Part::Resuming);
        again
            .filter_map(|client| Some((client.left.take()?, client.next)))
            .collect()
    }

    /// How many clients with these numbers have gone on with their session and heard everything before the announcement
    /// `next`.
    pub(super) fn resumed(&self, numbers: std::ops::Range<usize>, next: u32) -> usize {
        let is_whole = |client: &&Client| client.part == Part::Resumed && client.is_live && client.next == next;
        self.clients[numbers].iter().filter(is_whole).count()
    }

    /// Whether everybody has identified, or is gone again.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |client: &Client| client.is_live || client.ending.is_some();
        self.clients.iter().all(settled)
    }

    /// The numbers of the clients with this part that are still connected.
    pub(super) fn still(&self, part: Part) -> Vec<usize> {
        let present = |(_, client): &(usize, &Client)| client.part == part && client.ending.is_none();
        self.clients
            .iter()
            .enumerate()
            .filter(present)
            .map(|(number, _)| number)
            .collect()
    }

    /// Whether everybody who is there and has to hear it has heard everything before the announcement `next`.
    pub(super) fn has_heard(&self, next: u32) -> bool {
        let behind = |client: &Client| client.part.hears_all() && client.ending.is_none() && client.next < next;
        !self.clients.iter().any(behind)
    }

    /// Counts what these have not heard of everything before the announcement `next`.
    pub(super) fn settle(&mut self, next: u32) {
        for client in &mut self.clients {
            if client.part.hears_all() && client.ending.is_none() {
                self.faults.missed += next.saturating_sub(client.next);
                client.next = client.next.max(next);
            }
        }
    }

    /// Latencies of healthy clients, and faults, since the last call.
    pub(super) fn take(&mut self) -> (Summary, Faults) {
        let latencies = std::mem::take(&mut self.latencies);
        (latencies.summary(), std::mem::take(&mut self.faults))
    }

    /// How the clients with these numbers ended, by part and ending.
    pub(super) fn endings(&self, numbers: std::ops::Range<usize>) -> BTreeMap<String, u32> {
        let mut endings = BTreeMap::new();
        for client in &self.clients[numbers] {
            let ending = client.ending.as_deref().unwrap_or("still connected");
            let part = match client.part {
                Part::Healthy => "healthy",
                Part::Stopped => "stopped",
                Part::Resuming => "reads again",
                Part::Resumed => "resumed",
                Part::Drip => "drip",
            };
            *endings.entry(format!("{part}: {ending}")).or_default() += 1;
        }
        endings
    }

    /// How many clients there have been.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The node is about to stop: whoever is cut off now is not lost.
    pub(super) fn dismiss(&mut self) {
        self.is_over = true;
    }

    /// Takes down what a client was told.
    pub(super) fn hear(&mut self, number: usize, heard: Heard<'_>) {
        let client = &mut self.clients[number];
        match heard {
            Heard::Live => client.is_live = true,
            Heard::Ack => {}
            Heard::Announce(payload) => {
                let Some(Announcement { number, sent_us }) = Announcement::read(payload) else {
                    return;
                };
                if matches!(client.part, Part::Stopped | Part::Drip) {
                    return;
                }
                if client.part == Part::Healthy {
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
            Heard::Ended(ended) => {
                if client.part.hears_all() && !self.is_over && ended.code != Some(LEAVING) {
                    self.faults.lost += 1;
                }
                client.ending = Some(ended.to_string());
                client.left = ended.left;
            }
        }
    }
}
