//! How often a client may change its presence.

use std::{collections::VecDeque, time::Duration};

use shared::discord::Presence;
use tokio::time::Instant;

/// How many presences are told in [`WHILE`].
const MOST: usize = 5;
/// The time in which there may be so many.
const WHILE: Duration = Duration::from_secs(20);

/// The presences of one connection. Of those that come too often the latest is told, as soon as it may be.
#[derive(Debug, Default)]
pub(super) struct Presences {
    published: VecDeque<Instant>,
    waiting: Option<Presence>,
}

impl Presences {
    /// Notes a presence; answers it where it is to be told now.
    pub(super) fn set(&mut self, presence: Presence, now: Instant) -> Option<Presence> {
        self.waiting = Some(presence);
        self.due(now)
    }

    /// The presence that is to be told by now.
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

    /// When the one that waits is to be told.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref()?;
        self.published.front().map(|first| *first + WHILE)
    }

    /// Forgets the one that waits: its session is over.
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
    fn of_presences_that_come_too_often_the_latest_is_told_later() {
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
