//! The origins of entries that were delivered here. They show whether an event that is appended again after the server
//! has lost it was delivered before.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::wire::Origin;

/// How many origins of the latest entries are remembered.
const ORIGINS: usize = 4096;

/// The origins of the latest entries, and of entries that the server has lost. Entries without an origin are ignored.
#[derive(Default)]
pub(super) struct DeliveredOrigins {
    /// The offsets and origins of the latest entries, in order.
    latest: VecDeque<(u64, Origin)>,
    /// Origins of entries that the server has lost. If such an event is appended again, that is for the sessions that do
    /// not have it.
    lost: FxHashSet<Origin>,
}

impl DeliveredOrigins {
    /// Records an entry that was delivered.
    pub(super) fn record(&mut self, offset: u64, origin: Origin) {
        if origin == 0 {
            return;
        }
        if self.latest.len() == ORIGINS {
            self.latest.pop_front();
        }
        self.latest.push_back((offset, origin));
    }

    /// Whether an event was delivered and then lost by the server. Returns `true` once for each.
    pub(super) fn take_lost(&mut self, origin: Origin) -> bool {
        origin != 0 && self.lost.remove(&origin)
    }

    /// Records that the server has lost the entries after this offset. They return only if their sender publishes them
    /// again.
    pub(super) fn cut_off(&mut self, kept: u64) {
        if self.lost.len() > ORIGINS {
            // Senders whose publications were unanswered then have given up by now.
            self.lost.clear();
        }
        let is_lost = |(offset, _): &&(u64, Origin)| *offset > kept;
        self.lost
            .extend(self.latest.iter().filter(is_lost).map(|(_, origin)| *origin));
        self.latest.retain(|(offset, _)| *offset <= kept);
    }

    /// Forgets which entries the server has lost.
    pub(super) fn forget_lost(&mut self) {
        self.lost.clear();
    }

    /// Forgets the latest entries, when the log is no longer followed.
    pub(super) fn restart(&mut self) {
        self.latest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_event_is_recognised_once() {
        let mut origins = DeliveredOrigins::default();
        for offset in 1..=4 {
            origins.record(offset, 10 * offset);
        }
        origins.record(5, 0);
        origins.cut_off(2);
        assert!(!origins.take_lost(20) && !origins.take_lost(0));
        assert!(origins.take_lost(30) && !origins.take_lost(30));
        // Its place is taken by another event, which is lost in turn.
        origins.record(3, 31);
        origins.cut_off(0);
        assert!(origins.take_lost(10) && origins.take_lost(31) && origins.take_lost(40));
        origins.record(1, 11);
        origins.cut_off(0);
        origins.forget_lost();
        assert!(!origins.take_lost(11));
    }

    #[test]
    fn only_the_latest_entries_are_remembered() {
        let mut origins = DeliveredOrigins::default();
        for offset in 1..=ORIGINS as u64 + 1 {
            origins.record(offset, offset);
        }
        origins.cut_off(0);
        assert!(!origins.take_lost(1) && origins.take_lost(2));
        origins.record(1, 1);
        origins.restart();
        origins.cut_off(0);
        assert!(!origins.take_lost(1));
    }
}
