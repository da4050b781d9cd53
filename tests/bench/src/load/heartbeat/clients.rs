//! What the clients have sent and heard.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use gateway_harness::frame;

use super::super::{announcement::Announcement, fleet::Fleet, latencies::Latencies, peer::Heard};

/// All clients of a run.
pub(super) struct Clients {
    each: Vec<Client>,
    heartbeat: Vec<u8>,
    ack_deadline: Duration,
    leaving: bool,
    pub(super) tally: Tally,
}

/// What is counted over all of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) identified: u32,
    /// Connections that ended before the node was told to stop.
    pub(super) lost: u32,
    /// Connections that are over.
    pub(super) over: u32,
    pub(super) beats: u32,
    pub(super) acks: u32,
    /// ACKs that came, but after the deadline.
    pub(super) late: u32,
    /// Clients that have had the second event.
    pub(super) reached: u32,
    /// Clients that had had the first exactly once by then.
    pub(super) once: u32,
    /// Events beyond one of each.
    pub(super) surplus: u32,
    /// How connections ended before the node was told to stop, and after.
    pub(super) early_endings: BTreeMap<String, u32>,
    pub(super) endings: BTreeMap<String, u32>,
    pub(super) latencies: Latencies,
}

#[derive(Default)]
struct Client {
    identified: bool,
    over: bool,
    /// When the heartbeats were sent that have not been answered.
    unanswered: VecDeque<Instant>,
    /// How often each of the two events has come.
    events: [u32; 2],
}

impl Clients {
    pub(super) fn new(count: u32, ack_deadline: Duration) -> Self {
        let mut each = Vec::new();
        each.resize_with(count as usize, Client::default);
        Self {
            each,
            heartbeat: frame::text("{\"op\":10}"),
            ack_deadline,
            leaving: false,
            tally: Tally::default(),
        }
    }

    pub(super) fn identified(&self) -> u32 {
        self.tally.identified
    }

    /// Clients that have identified, or have failed to.
    pub(super) fn settled(&self) -> u32 {
        let failed = self.each.iter().filter(|client| client.over && !client.identified);
        if self.tally.over == 0 {
            return self.tally.identified;
        }
        self.tally.identified + u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// Clients whose connection goes on.
    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.each.len()).unwrap_or(u32::MAX) - self.tally.over
    }

    /// Clients that are there and have had the second event.
    pub(super) fn reached(&self) -> u32 {
        self.tally.reached
    }

    /// Heartbeats without an answer, of clients that are there.
    pub(super) fn unanswered(&self) -> usize {
        let open = self.each.iter().filter(|client| !client.over);
        open.map(|client| client.unanswered.len()).sum()
    }

    /// Endings are no losses from here on.
    pub(super) fn expect_farewell(&mut self) {
        self.leaving = true;
    }

    /// Sends one client's heartbeat.
    pub(super) fn beat(&mut self, fleet: &mut Fleet, number: usize) {
        let client = &mut self.each[number];
        if client.identified && fleet.send(number, &self.heartbeat) {
            client.unanswered.push_back(Instant::now());
            self.tally.beats += 1;
        }
    }

    /// Sends everybody's heartbeat.
    pub(super) fn beat_all(&mut self, fleet: &mut Fleet) {
        for number in 0..self.each.len() {
            self.beat(fleet, number);
        }
    }

    /// Takes down what a client was told.
    pub(super) fn hear(&mut self, number: usize, heard: &Heard<'_>) {
        let Self { each, tally, .. } = self;
        let client = &mut each[number];
        match heard {
            Heard::Live => {
                client.identified = true;
                tally.identified += 1;
            }
            Heard::Ack => {
                let Some(sent) = client.unanswered.pop_front() else {
                    tally.surplus += 1;
                    return;
                };
                let latency = sent.elapsed();
                tally.latencies.add(latency);
                if latency <= self.ack_deadline {
                    tally.acks += 1;
                } else {
                    tally.late += 1;
                }
            }
            Heard::Announce(payload) => match Announcement::read(payload).map(|event| event.number) {
                Some(1) => {
                    client.events[0] += 1;
                    tally.surplus += u32::from(client.events[0] > 1);
                }
                Some(2) => {
                    client.events[1] += 1;
                    if client.events[1] > 1 {
                        tally.surplus += 1;
                    } else {
                        tally.reached += 1;
                        tally.once += u32::from(client.events[0] == 1);
                    }
                }
                _ => tally.surplus += 1,
            },
            Heard::Ended(ended) => {
                client.over = true;
                tally.over += 1;
                let endings = if self.leaving {
                    &mut tally.endings
                } else {
                    tally.lost += 1;
                    &mut tally.early_endings
                };
                *endings.entry(ended.to_string()).or_default() += 1;
            }
        }
    }
}
