//! Limits how often a bot gets all members of a guild.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// The most guilds per application whose last listing is remembered. Further guilds are refused until the oldest of
/// them may be listed again.
const GUILDS: usize = 65_536;

/// When each full member list was last requested on this node. Clones share the state.
#[derive(Debug, Clone)]
pub struct MemberLists {
    interval: Duration,
    applications: Arc<Mutex<FxHashMap<Arc<str>, Lists>>>,
}

/// The listings of one application.
#[derive(Debug, Default)]
struct Lists {
    last: FxHashMap<u64, Instant>,
    /// The same listings, oldest first.
    command: VecDeque<(Instant, u64)>,
}

impl MemberLists {
    /// Creates a limit of one listing per guild in `interval`. A zero interval means no limit.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            applications: Arc::default(),
        }
    }

    /// Takes the list of a guild for a request that arrived at `asked`.
    ///
    /// # Errors
    /// Returns how long the bot has to wait from `now` on if it got the list too recently.
    pub fn take(&self, application: &Arc<str>, guild: u64, asked: Instant, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut applications = self.applications.lock();
        applications.retain(|_, lists| {
            lists.sweep(now, self.interval);
            !lists.command.is_empty()
        });
        let lists = applications.entry(Arc::clone(application)).or_default();
        let oldest = (lists.command.len() >= GUILDS).then(|| lists.command.front().map(|(at, _)| *at));
        let last = lists.last.get(&guild).copied().or(oldest.flatten());
        if let Some(last) = last.filter(|last| asked < *last + self.interval) {
            return Err((last + self.interval).saturating_duration_since(now));
        }
        lists.last.insert(guild, asked);
        lists.command.push_back((asked, guild));
        Ok(())
    }
}

impl Lists {
    /// Removes listings older than `interval`.
    fn sweep(&mut self, now: Instant, interval: Duration) {
        while let Some((at, guild)) = self.command.front().copied()
            && at + interval <= now
        {
            self.command.pop_front();
            if self.last.get(&guild) == Some(&at) {
                self.last.remove(&guild);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_guild_is_listed_once_per_interval_and_application() {
        let (lists, start) = (MemberLists::new(INTERVAL), Instant::now());
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        assert_eq!(lists.take(&a, 1, start, start), Ok(()));
        assert_eq!(lists.take(&a, 2, start, start), Ok(()));
        assert_eq!(lists.take(&b, 1, start, start), Ok(()));
        let now = start + 10 * SECOND;
        assert_eq!(lists.clone().take(&a, 1, now, now), Err(20 * SECOND));
        // A refusal does not delay the next listing.
        let now = start + INTERVAL;
        assert_eq!(lists.take(&a, 1, now, now), Ok(()));
        assert_eq!(lists.take(&a, 1, now, now), Err(INTERVAL));
    }

    #[test]
    fn a_request_counts_from_its_arrival() {
        let (lists, start) = (MemberLists::new(INTERVAL), Instant::now());
        let a: Arc<str> = "a".into();
        assert_eq!(lists.take(&a, 1, start, start), Ok(()));
        let turn = start + 20 * SECOND;
        assert_eq!(lists.take(&a, 1, start + SECOND, turn), Err(10 * SECOND));
    }

    #[test]
    fn without_an_interval_there_is_no_limit() {
        let (lists, now) = (MemberLists::new(Duration::ZERO), Instant::now());
        for _ in 0..3 {
            assert_eq!(lists.take(&"a".into(), 1, now, now), Ok(()));
        }
        assert_eq!(lists.applications.lock().len(), 0);
    }

    #[test]
    fn remembered_listings_are_bounded_and_expire() {
        let (lists, start) = (MemberLists::new(INTERVAL), Instant::now());
        let a: Arc<str> = "a".into();
        for guild in 0..GUILDS as u64 {
            assert_eq!(lists.take(&a, guild, start, start), Ok(()));
        }
        let now = start + SECOND;
        assert_eq!(lists.take(&a, u64::MAX, now, now), Err(INTERVAL.saturating_sub(SECOND)));
        let now = start + INTERVAL;
        assert_eq!(lists.take(&a, u64::MAX, now, now), Ok(()));
        let applications = lists.applications.lock();
        assert_eq!((applications[&a].last.len(), applications[&a].command.len()), (1, 1));
    }
}
