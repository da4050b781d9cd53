//! What the clients have sent and heard.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use gateway_harness::frame;

use super::super::{announcement::Announcement, client::LoadClientEvent, client_set::ClientSet, latencies::Latencies};

/// All clients of a run.
pub(super) struct Clients {
    each: Vec<HeartbeatClient>,
    heartbeat: Vec<u8>,
    ack_deadline: Duration,
    leaving: bool,
    pub(super) stats: HeartbeatStats,
}

/// What is counted over all of them.
#[derive(Debug, Default)]
pub(super) struct HeartbeatStats {
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
struct HeartbeatClient {
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
        each.resize_with(count as usize, HeartbeatClient::default);
        Self {
            each,
            heartbeat: frame::text("{\"op\":10}"),
            ack_deadline,
            leaving: false,
            stats: HeartbeatStats::default(),
        }
    }

    pub(super) fn identified(&self) -> u32 {
        self.stats.identified
    }

    /// Clients that have identified, or have failed to.
    pub(super) fn settled(&self) -> u32 {
        let failed = self.each.iter().filter(|client| client.over && !client.identified);
        if self.stats.over == 0 {
            return self.stats.identified;
        }
        self.stats.identified + u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// Clients whose connection goes on.
    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.each.len()).unwrap_or(u32::MAX) - self.stats.over
    }

    /// Clients that are there and have had the second event.
    pub(super) fn reached(&self) -> u32 {
        self.stats.reached
    }

    /// Heartbeats without an answer, of clients that are there.
    pub(super) fn unanswered(&self) -> usize {
        let open = self.each.iter().filter(|client| !client.over);
        open.map(|client| client.unanswered.len()).sum()
    }

    /// Endings are no losses from here on.
    pub(super) fn expect_shutdown(&mut self) {
        self.leaving = true;
    }

    /// Sends one client's heartbeat.
    pub(super) fn beat(&mut self, client_set: &mut ClientSet, number: usize) {
        let client = &mut self.each[number];
        if client.identified && client_set.send(number, &self.heartbeat) {
            client.unanswered.push_back(Instant::now());
            self.stats.beats += 1;
        }
    }

    /// Sends everybody's heartbeat.
    pub(super) fn beat_all(&mut self, client_set: &mut ClientSet) {
        for number in 0..self.each.len() {
            self.beat(client_set, number);
        }
    }

    /// Takes down what a client was told.
    pub(super) fn record(&mut self, number: usize, event: &LoadClientEvent<'_>) {
        let Self { each, stats, .. } = self;
        let client = &mut each[number];
        match event {
            LoadClientEvent::Live => {
                client.identified = true;
                stats.identified += 1;
            }
            LoadClientEvent::Ack => {
                let Some(sent) = client.unanswered.pop_front() else {
                    stats.surplus += 1;
                    return;
                };
                let latency = sent.elapsed();
                stats.latencies.add(latency);
                if latency <= self.ack_deadline {
                    stats.acks += 1;
                } else {
                    stats.late += 1;
                }
            }
            LoadClientEvent::Announce(payload) => {
                match Announcement::read(payload).map(|announcement| announcement.number) {
                    Some(1) => {
                        client.events[0] += 1;
                        stats.surplus += u32::from(client.events[0] > 1);
                    }
                    Some(2) => {
                        client.events[1] += 1;
                        if client.events[1] > 1 {
                            stats.surplus += 1;
                        } else {
                            stats.reached += 1;
                            stats.once += u32::from(client.events[0] == 1);
                        }
                    }
                    _ => stats.surplus += 1,
                }
            }
            LoadClientEvent::Ended(ended) => {
                client.over = true;
                stats.over += 1;
                let endings = if self.leaving {
                    &mut stats.endings
                } else {
                    stats.lost += 1;
                    &mut stats.early_endings
                };
                *endings.entry(ended.to_string()).or_default() += 1;
            }
        }
    }
}
