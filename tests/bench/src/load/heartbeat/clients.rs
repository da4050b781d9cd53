//! What the clients have sent and received.

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

/// Counters over all clients.
#[derive(Debug, Default)]
pub(super) struct HeartbeatStats {
    pub(super) identified: u32,
    /// Connections that ended before the node was told to stop.
    pub(super) lost: u32,
    /// Connections that have ended.
    pub(super) over: u32,
    pub(super) beats: u32,
    pub(super) acks: u32,
    /// ACKs received after the deadline.
    pub(super) late: u32,
    /// Clients that have received the second event.
    pub(super) reached: u32,
    /// Clients that had received the first event exactly once by then.
    pub(super) once: u32,
    /// Unexpected payloads: further copies of an event, unknown events, and ACKs without a heartbeat.
    pub(super) surplus: u32,
    /// How connections ended, before and after the node was told to stop.
    pub(super) early_endings: BTreeMap<String, u32>,
    pub(super) endings: BTreeMap<String, u32>,
    pub(super) latencies: Latencies,
}

#[derive(Default)]
struct HeartbeatClient {
    identified: bool,
    over: bool,
    /// Send times of the heartbeats that have not been answered.
    unanswered: VecDeque<Instant>,
    /// How often each of the two events was received.
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

    /// Returns how many clients have identified or have failed to.
    pub(super) fn settled(&self) -> u32 {
        let failed = self.each.iter().filter(|client| client.over && !client.identified);
        if self.stats.over == 0 {
            return self.stats.identified;
        }
        self.stats.identified + u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// Returns how many clients are not disconnected.
    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.each.len()).unwrap_or(u32::MAX) - self.stats.over
    }

    /// Returns how many clients have received the second event.
    pub(super) fn reached(&self) -> u32 {
        self.stats.reached
    }

    /// Returns how many heartbeats of connected clients are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        let open = self.each.iter().filter(|client| !client.over);
        open.map(|client| client.unanswered.len()).sum()
    }

    /// From now on, a connection that ends is not counted as lost.
    pub(super) fn expect_shutdown(&mut self) {
        self.leaving = true;
    }

    /// Sends the heartbeat of one client.
    pub(super) fn beat(&mut self, client_set: &mut ClientSet, number: usize) {
        let client = &mut self.each[number];
        if client.identified && client_set.send(number, &self.heartbeat) {
            client.unanswered.push_back(Instant::now());
            self.stats.beats += 1;
        }
    }

    /// Sends the heartbeats of all clients.
    pub(super) fn beat_all(&mut self, client_set: &mut ClientSet) {
        for number in 0..self.each.len() {
            self.beat(client_set, number);
        }
    }

    /// Records an event of client `number`.
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
