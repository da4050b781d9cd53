//! A bot that resumes its session at any node, whenever it is asked to reconnect or its connection breaks.

use std::time::Duration;

use gateway_harness::{
    discord::{Resumer, ResumerConnection, ResumerEvent},
    key,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{EventTotal, NodeAddresses};

/// The interval of heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the bot waits before it tries another node.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the bot checks whether the last event has been sent.
const POLL: Duration = Duration::from_millis(100);

/// What a bot received.
#[derive(Debug, Default)]
pub(super) struct BotStats {
    /// Events received for the first time.
    pub(super) events: u64,
    /// Events skipped between two received ones.
    pub(super) missing: u64,
    /// Events received again.
    pub(super) doubled: u64,
    /// How often the bot resumed its session.
    pub(super) resumed: u64,
    /// How often the bot had to identify again.
    pub(super) identified_again: u64,
    /// The longest time between two events.
    pub(super) longest_gap: Duration,
}

/// A bot with one shard.
pub(super) struct RollingBot {
    shard: u32,
    shards: u32,
    session: Resumer,
    /// The number of the last event received, and when it arrived.
    last: Option<(u64, Instant)>,
    stats: BotStats,
}

impl RollingBot {
    pub(super) fn new(shard: u32, shards: u32) -> Self {
        Self {
            shard,
            shards,
            session: Resumer::new(key("bot"), [shard, shards], 0),
            last: None,
            stats: BotStats::default(),
        }
    }

    /// Runs until the bot has received its last event.
    pub(super) async fn run(mut self, accepting: NodeAddresses, total: EventTotal) -> BotStats {
        while !self.is_over(&total) {
            let address = {
                let accepting = accepting.borrow();
                accepting.get(fastrand::usize(..accepting.len().max(1))).copied()
            };
            let connection = match address {
                Some(address) => self.session.connect(address).await,
                None => None,
            };
            match connection {
                Some(connection) => self.listen(connection, &total).await,
                None => sleep(PAUSE).await,
            }
        }
        self.stats
    }

    /// Receives until the bot needs another connection, or is done.
    async fn listen(&mut self, mut connection: ResumerConnection, total: &EventTotal) {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut poll = interval(POLL);
        loop {
            let before = self.session.sequence();
            let event = tokio::select! {
                event = self.session.next(&mut connection) => event,
                _ = beat.tick() => {
                    self.session.beat(&mut connection).await;
                    continue;
                }
                _ = poll.tick() => {
                    if self.is_over(total) {
                        return;
                    }
                    continue;
                }
            };
            match event {
                ResumerEvent::Dispatch(payload) => {
                    assert_eq!(payload.s, Some(before + 1), "a gap before {payload:?}");
                    match payload.t.as_deref() {
                        Some("READY") => {}
                        Some("RESUMED") => self.stats.resumed += 1,
                        _ => self.note(payload.d["n"].as_u64()),
                    }
                }
                ResumerEvent::HeartbeatAck => {}
                ResumerEvent::Reconnect | ResumerEvent::Ended(_) => return,
                ResumerEvent::Invalid => {
                    self.stats.identified_again += 1;
                    return;
                }
            }
        }
    }

    fn note(&mut self, number: Option<u64>) {
        let (Some(number), now) = (number, Instant::now()) else {
            return;
        };
        match self.last {
            Some((last, _)) if number <= last => self.stats.doubled += 1,
            previous => {
                if let Some((last, since)) = previous {
                    self.stats.missing += (number - last) / u64::from(self.shards) - 1;
                    self.stats.longest_gap = self.stats.longest_gap.max(now - since);
                }
                self.stats.events += 1;
                self.last = Some((number, now));
            }
        }
    }

    /// Whether the bot has received the last event that is for it.
    fn is_over(&self, total: &EventTotal) -> bool {
        let shards = u64::from(self.shards);
        let of_shard = |events: u64| {
            let behind = (events + shards - u64::from(self.shard)) % shards;
            events.checked_sub(behind)
        };
        // Events are numbered from 0, so the last number is the total minus one.
        let last = total.borrow().and_then(|events| of_shard(events.checked_sub(1)?));
        last.is_some_and(|last| self.last.is_some_and(|(seen, _)| seen >= last))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_bot_counts_missing_events_and_knows_when_it_is_done() {
        let mut bot = RollingBot::new(1, 4);
        for number in [1, 5, 5, 13] {
            bot.note(Some(number));
        }
        assert_eq!((bot.stats.events, bot.stats.missing, bot.stats.doubled), (3, 1, 1));
        for (events, is_over) in [(14, true), (17, true), (18, false)] {
            let (_sender, total) = watch::channel(Some(events));
            assert_eq!(bot.is_over(&total), is_over, "{events}");
        }
        let (_sender, total) = watch::channel(None);
        assert!(!bot.is_over(&total));
    }
}
