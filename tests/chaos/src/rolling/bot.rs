//! One bot: it resumes when it is asked to, when its connection breaks, and on any node.

use std::time::Duration;

use gateway_harness::{
    discord::{Resumer, ResumerConnection, ResumerEvent},
    key,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{LastEvent, NodeAddresses};

/// How often it says what it has.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long it waits before it tries another node.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it looks whether the last event was sent.
const POLL: Duration = Duration::from_millis(100);

/// What a bot has seen.
#[derive(Debug, Default)]
pub(super) struct BotStats {
    /// Events that it had not seen before.
    pub(super) events: u64,
    /// Events between two that it has seen.
    pub(super) missing: u64,
    /// Events that it has seen before.
    pub(super) doubled: u64,
    /// How often it went on with its session.
    pub(super) resumed: u64,
    /// How often it had to begin anew.
    pub(super) identified_again: u64,
    /// The longest time between two events.
    pub(super) longest_gap: Duration,
}

/// A bot that has one shard.
pub(super) struct RollingBot {
    shard: u32,
    shards: u32,
    session: Resumer,
    /// The number of the last event, and when it came.
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

    /// Goes on until it has its last event.
    pub(super) async fn run(mut self, accepting: NodeAddresses, last_event: LastEvent) -> BotStats {
        while !self.is_over(&last_event) {
            let address = {
                let accepting = accepting.borrow();
                accepting.get(fastrand::usize(..accepting.len().max(1))).copied()
            };
            let connection = match address {
                Some(address) => self.session.connect(address).await,
                None => None,
            };
            match connection {
                Some(connection) => self.listen(connection, &last_event).await,
                None => sleep(PAUSE).await,
            }
        }
        self.stats
    }

    /// Receives until the connection has to be another one.
    async fn listen(&mut self, mut connection: ResumerConnection, last_event: &LastEvent) {
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
                    if self.is_over(last_event) {
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

    /// Whether it has the last event that is for it.
    fn is_over(&self, last_event: &LastEvent) -> bool {
        let shards = u64::from(self.shards);
        let of_shard = |events: u64| {
            let behind = (events + shards - u64::from(self.shard)) % shards;
            events.checked_sub(behind)
        };
        // Events are numbered from 0; the last one is one less than there are.
        let last = last_event.borrow().and_then(|events| of_shard(events.checked_sub(1)?));
        last.is_some_and(|last| self.last.is_some_and(|(seen, _)| seen >= last))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_bot_knows_what_it_has_missed_and_when_it_has_everything() {
        let mut bot = RollingBot::new(1, 4);
        for number in [1, 5, 5, 13] {
            bot.note(Some(number));
        }
        assert_eq!((bot.stats.events, bot.stats.missing, bot.stats.doubled), (3, 1, 1));
        for (events, is_over) in [(14, true), (17, true), (18, false)] {
            let (_sender, last_event) = watch::channel(Some(events));
            assert_eq!(bot.is_over(&last_event), is_over, "{events}");
        }
        let (_sender, last_event) = watch::channel(None);
        assert!(!bot.is_over(&last_event));
    }
}
