//! How far a log goes, and how far this node has come in it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{Epoch, Position};

/// How long after an epoch's end its losses are still told from node to node.
const AFTERMATH: Duration = Duration::from_secs(60);

/// What a look at the log showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// The life of the log.
    pub(super) epoch: Epoch,
    /// The offset of its last entry.
    pub(super) top: u64,
    /// When it was asked for; what was appended before that is in it.
    pub(super) asked: Instant,
    /// The position that was asked about.
    pub(super) about: Option<Position>,
    /// The last offset of that position's epoch that is still good.
    pub(super) kept: u64,
    /// The last offset of that position's epoch that some node has seen and that is gone; 0 for none.
    pub(super) lost: u64,
}

/// How far this node has come.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Where it stands; none while it has no receivers.
    pub(super) cursor: Option<Position>,
    /// The highest entry that it knows of.
    highest: Option<Position>,
    earlier: Option<Earlier>,
}

/// The end of an epoch.
#[derive(Debug)]
struct Earlier {
    highest: Position,
    /// Where this node stood.
    reached: u64,
    until: Instant,
}

/// What the end of an epoch has cost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Entries that were in the log and are not any more, as far as this node knows.
    pub(super) gone: u64,
    /// Whether there are some among them that this node has not delivered.
    pub(super) is_missed: bool,
    /// The last offset that is still good.
    pub(super) kept: u64,
}

impl Reached {
    /// Notes an entry of the epoch that is known; one of another epoch comes up by itself.
    pub(super) fn note(&mut self, position: Position) {
        match &mut self.highest {
            Some(highest) if highest.epoch == position.epoch => highest.offset = highest.offset.max(position.offset),
            Some(_) => {}
            highest => *highest = Some(position),
        }
    }

    /// The epoch that is known.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.highest.map(|highest| highest.epoch)
    }

    /// Begins to follow the log from its end.
    pub(super) fn begin(&mut self, top: Position) {
        self.cursor = Some(top);
        self.highest = Some(top);
    }

    /// The position to ask the next look about.
    pub(super) fn question(&mut self, now: Instant) -> Option<Position> {
        if self.earlier.as_ref().is_some_and(|earlier| earlier.until < now) {
            self.earlier = None;
        }
        self.earlier.as_ref().map(|earlier| earlier.highest).or(self.highest)
    }

    /// Goes over to the epoch that a look has found. `None` where the look was not about the epoch that ends.
    pub(super) fn cut(&mut self, sight: &Sight, now: Instant) -> Option<Cut> {
        let highest = self.highest?;
        if sight.about.map(|about| about.epoch) != Some(highest.epoch) {
            // It was about the end before this one, which is past now.
            self.earlier = None;
            return None;
        }
        let reached = self.cursor.map_or(highest.offset, |cursor| cursor.offset);
        let last = highest.offset.max(sight.lost);
        self.earlier = Some(Earlier {
            highest,
            reached: reached.max(last),
            until: now + AFTERMATH,
        });
        let start = Position {
            epoch: sight.epoch,
            offset: reached.min(sight.kept),
        };
        if self.cursor.is_some() {
            self.cursor = Some(start);
        }
        self.highest = Some(start);
        Some(Cut {
            gone: last.saturating_sub(sight.kept),
            is_missed: last > sight.kept.max(reached),
            kept: sight.kept,
        })
    }

    /// Whether a later look tells of a loss, at the end of the epoch before, that this node did not know of.
    pub(super) fn learns_of_a_loss(&mut self, sight: &Sight) -> bool {
        match (&mut self.earlier, sight.about) {
            (Some(earlier), Some(about)) if about.epoch == earlier.highest.epoch && sight.lost > earlier.reached => {
                earlier.reached = sight.lost;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Epoch = Epoch::from_raw(1);
    const NEW: Epoch = Epoch::from_raw(2);

    fn at(epoch: Epoch, offset: u64) -> Position {
        Position { epoch, offset }
    }

    fn reached(cursor: u64, highest: u64) -> Reached {
        let mut reached = Reached {
            cursor: Some(at(OLD, cursor)),
            ..Reached::default()
        };
        reached.note(at(OLD, highest));
        reached
    }

    fn sight(kept: u64, lost: u64) -> Sight {
        Sight {
            epoch: NEW,
            top: kept,
            asked: Instant::now(),
            about: Some(at(OLD, 0)),
            kept,
            lost,
        }
    }

    #[test]
    fn an_epoch_that_lost_nothing_goes_on_where_it_was() {
        let mut reached = reached(95, 100);
        let cut = reached.cut(&sight(100, 0), Instant::now()).unwrap();
        assert_eq!((cut.gone, cut.is_missed), (0, false));
        assert_eq!(reached.cursor, Some(at(NEW, 95)));
    }

    #[test]
    fn what_was_delivered_and_is_gone_is_counted_and_not_missed() {
        let mut reached = reached(100, 100);
        let cut = reached.cut(&sight(80, 0), Instant::now()).unwrap();
        assert_eq!((cut.gone, cut.is_missed), (20, false));
        assert_eq!(reached.cursor, Some(at(NEW, 80)));
    }

    #[test]
    fn what_is_gone_before_it_was_delivered_is_missed() {
        assert!(reached(90, 100).cut(&sight(80, 0), Instant::now()).unwrap().is_missed);
        // Another node knows of more.
        let mut reached = reached(90, 90);
        assert!(reached.cut(&sight(80, 95), Instant::now()).unwrap().is_missed);
    }

    #[test]
    fn a_loss_that_another_node_tells_of_later_is_learnt_once() {
        let now = Instant::now();
        let mut reached = reached(90, 90);
        assert!(!reached.cut(&sight(80, 0), now).unwrap().is_missed);
        let question = reached.question(now).unwrap();
        assert_eq!(question, at(OLD, 90));
        let later = sight(80, 95);
        assert!(reached.learns_of_a_loss(&later));
        assert!(!reached.learns_of_a_loss(&later));
        assert_eq!(reached.question(now + 2 * AFTERMATH), Some(at(NEW, 80)));
    }
}
