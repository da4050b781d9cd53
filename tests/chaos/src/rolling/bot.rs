//! One bot: it resumes when it is asked to, when its connection breaks, and on any node.

use std::time::Duration;

use gateway_harness::{
    discord::{Connection, Heard, Resumer},
    key,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Doors, End};

/// How often it says what it has.
const BEAT: Duration = Duration::from_secs(2);
/// How long it waits before it tries another node.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it looks whether the last event was sent.
const GLANCE: Duration = Duration::from_millis(100);

/// What a bot has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
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
pub(super) struct Bot {
    shard: u32,
    shards: u32,
    session: Resumer,
    /// The number of the last event, and when it came.
    last: Option<(u64, Instant)>,
    seen: Seen,
}

impl Bot {
    pub(super) fn new(shard: u32, shards: u32) -> Self {
        Self {
            shard,
            shards,
            session: Resumer::new(key("bot"), [shard, shards], 0),
            last: None,
            seen: Seen::default(),
        }
    }

    /// Goes on until it has its last event.
    pub(super) async fn live(mut self, doors: Doors, end: End) -> Seen {
        while !self.is_over(&end) {
            let door = {
                let doors = doors.borrow();
                doors.get(fastrand::usize(..doors.len().max(1))).copied()
            };
            let connection = match door {
                Some(door) => self.session.connect(door).await,
                None => None,
            };
            match connection {
                Some(connection) => self.listen(connection, &end).await,
                None => sleep(PAUSE).await,
            }
        }
        self.seen
    }

    /// Receives until the connection has to be another one.
    async fn listen(&mut self, mut connection: Connection, end: &End) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut glance = interval(GLANCE);
        loop {
            let before = self.session.sequence();
            let heard = tokio::select! {
                heard = self.session.next(&mut connection) => heard,
                _ = beat.tick() => {
                    self.session.beat(&mut connection).await;
                    continue;
                }
                _ = glance.tick() => {
                    if self.is_over(end) {
                        return;
                    }
                    continue;
                }
            };
            match heard {
                Heard::Dispatch(payload) => {
                    assert_eq!(payload.s, Some(before + 1), "a gap before {payload:?}");
                    match payload.t.as_deref() {
                        Some("READY") => {}
                        Some("RESUMED") => self.seen.resumed += 1,
                        _ => self.note(payload.d["n"].as_u64()),
                    }
                }
                Heard::Beaten => {}
                Heard::Reconnect | Heard::Ended(_) => return,
                Heard::Invalid => {
                    self.seen.identified_again += 1;
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
            Some((last, _)) if number <= last => self.seen.doubled += 1,
            previous => {
                if let Some((last, since)) = previous {
                    self.seen.missing += (number - last) / u64::from(self.shards) - 1;
                    self.seen.longest_gap = self.seen.longest_gap.max(now - since);
                }
                self.seen.events += 1;
                self.last = Some((number, now));
            }
        }
    }

    /// Whether it has the last event that is for it.
    fn is_over(&self, end: &End) -> bool {
        let shards = u64::from(self.shards);
        let of_shard = |events: u64| {
            let behind = (events + shards - u64::from(self.shard)) % shards;
            events.checked_sub(behind)
        };
        // Events are numbered from 0; the last one is one less than there are.
        let last = end.borrow().and_then(|events| of_shard(events.checked_sub(1)?));
        last.is_some_and(|last| self.last.is_some_and(|(seen, _)| seen >= last))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_bot_knows_what_it_has_missed_and_when_it_has_everything() {
        let mut bot = Bot::new(1, 4);
        for number in [1, 5, 5, 13] {
            bot.note(Some(number));
        }
        assert_eq!((bot.seen.events, bot.seen.missing, bot.seen.doubled), (3, 1, 1));
        for (events, is_over) in [(14, true), (17, true), (18, false)] {
            let (_sender, end) = watch::channel(Some(events));
            assert_eq!(bot.is_over(&end), is_over, "{events}");
        }
        let (_sender, end) = watch::channel(None);
        assert!(!bot.is_over(&end));
    }
}
