//! Limits how often a client may change its presence.

use std::{collections::VecDeque, time::Duration};

use shared::discord::Presence;
use tokio::time::Instant;

/// The most presence updates that are published in one [`WHILE`].
const MOST: usize = 5;
/// The window of the limit.
const WHILE: Duration = Duration::from_secs(20);

/// The presence updates of one connection. If they come too often, the latest is held back until the limit allows it.
#[derive(Debug, Default)]
pub(super) struct Presences {
    published: VecDeque<Instant>,
    waiting: Option<Presence>,
}

impl Presences {
    /// Takes a presence update. Returns it if it may be published now.
    pub(super) fn set(&mut self, presence: Presence, now: Instant) -> Option<Presence> {
        self.waiting = Some(presence);
        self.due(now)
    }

    /// Returns the held-back presence update if it may be published now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Presence> {
        let is_full = self.published.len() == MOST;
        if is_full && self.published.front().is_some_and(|first| *first + WHILE > now) {
            return None;
        }
        let presence = self.waiting.take()?;
        if is_full {
            self.published.pop_front();
        }
        self.published.push_back(now);
        Some(presence)
    }

    /// Returns when the held-back update may be published.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref()?;
        self.published.front().map(|first| *first + WHILE)
    }

    /// Drops the held-back update, because its session has ended.
    pub(super) fn forget(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use shared::discord::Status;

    use super::*;

    fn presence(status: Status) -> Presence {
        Presence {
            status,
            ..Presence::default()
        }
    }

    #[test]
    fn the_latest_presence_over_the_limit_is_published_later() {
        let (mut presences, start) = (Presences::default(), Instant::now());
        let second = Duration::from_secs(1);
        for n in 0..5 {
            let now = start + second * n;
            assert_eq!(presences.set(presence(Status::Idle), now), Some(presence(Status::Idle)));
            assert_eq!(presences.deadline(), None);
        }
        let now = start + second * 5;
        assert_eq!(presences.set(presence(Status::Dnd), now), None);
        assert_eq!(presences.set(presence(Status::Online), now), None);
        assert_eq!(presences.deadline(), Some(start + WHILE));
        assert_eq!(presences.due(start + WHILE - second / 2), None);
        assert_eq!(presences.due(start + WHILE), Some(presence(Status::Online)));
        assert_eq!(presences.due(start + WHILE), None);
        assert_eq!(presences.set(presence(Status::Dnd), start + WHILE), None);
        assert_eq!(presences.deadline(), Some(start + second + WHILE));
        presences.forget();
        assert_eq!(presences.due(start + 2 * WHILE), None);
    }
}
