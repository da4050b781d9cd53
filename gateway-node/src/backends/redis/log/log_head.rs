//! How far a log goes, and how far this node has come in it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::backplane::{Epoch, Position};

/// How long after an epoch's end its losses are still told from node to node.
const EPOCH_GRACE: Duration = Duration::from_secs(60);
/// How many epochs a node remembers, for when the server has lost the beginning of a later one, or more of one that it
/// has left.
const EPOCHS: usize = 8;

/// What a look at the log asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::backends::redis) struct HeadQuery {
    /// The positions from which this node could go on, latest first.
    pub(in crate::backends::redis) positions: Vec<Position>,
    /// The last entries that it has seen of the epochs that it has left, latest first.
    pub(in crate::backends::redis) left: Vec<Position>,
}

/// What a look at the log showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backends::redis) struct LogHead {
    /// The server's `run_id`.
    pub(in crate::backends::redis) run: Arc<str>,
    /// The life of the log.
    pub(in crate::backends::redis) epoch: Epoch,
    /// The offset of its last entry.
    pub(in crate::backends::redis) top: u64,
    /// When it was asked for; what was appended before that is in it.
    pub(in crate::backends::redis) asked: Instant,
    /// What was asked.
    pub(in crate::backends::redis) head_query: HeadQuery,
    /// The offset behind which this node goes on; none where none of its positions is known any more.
    pub(in crate::backends::redis) kept: Option<u64>,
    /// The last offset of the epoch that it knew that is still good; none where that epoch is not known any more.
    pub(in crate::backends::redis) good: Option<u64>,
    /// Of each epoch that was left, the last offset that any node has seen and that is gone; 0 for none.
    pub(in crate::backends::redis) lost: Vec<u64>,
    /// Entries that were seen, and are gone, of epochs after the first of those.
    pub(in crate::backends::redis) skipped: u64,
}

/// How far this node has come.
#[derive(Debug, Default)]
pub(in crate::backends::redis) struct ConsumerProgress {
    /// Where it stands; none while it has no receivers.
    pub(in crate::backends::redis) cursor: Option<Position>,
    /// The `run_id` of the server that the last look was at.
    pub(in crate::backends::redis) run: Option<Arc<str>>,
    /// The highest entry that it knows of, in the epoch that it knows.
    highest: Option<Position>,
    /// Where earlier epochs ended, the latest first.
    ends: VecDeque<Position>,
    /// Ends of which more may be heard, the latest first.
    grace: VecDeque<EpochGrace>,
    /// What is known to be gone of epochs after the first of those.
    skipped: u64,
}

/// The end of an epoch, of which more may be heard.
#[derive(Debug)]
struct EpochGrace {
    highest: Position,
    /// The last of its entries that this node has delivered, or has told its sessions about.
    settled: u64,
    until: Instant,
}

/// What the end of an epoch has cost.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backends::redis) struct Truncation {
    /// Entries that were in the log and are not any more, as far as this node knows.
    pub(in crate::backends::redis) gone: u64,
    /// Whether there are some that this node has not delivered and cannot any more.
    pub(in crate::backends::redis) is_missed: bool,
    /// Whether entries that this node has delivered are gone while others took their place: what comes next was not
    /// necessarily sent after them.
    pub(in crate::backends::redis) is_diverged: bool,
    /// The offset behind which it goes on.
    pub(in crate::backends::redis) kept: u64,
}

impl ConsumerProgress {
    /// Notes an entry of the epoch that is known; one of another epoch comes up by itself.
    pub(in crate::backends::redis) fn note(&mut self, position: Position) {
        match &mut self.highest {
            Some(highest) if highest.epoch == position.epoch => highest.offset = highest.offset.max(position.offset),
            Some(_) => {}
            highest => *highest = Some(position),
        }
    }

    /// Moves the cursor to an entry of its epoch.
    pub(in crate::backends::redis) fn advance(&mut self, to: Position) {
        if let Some(cursor) = &mut self.cursor {
            *cursor = to;
            self.note(to);
        }
    }

    /// The epoch that is known.
    pub(in crate::backends::redis) fn epoch(&self) -> Option<Epoch> {
        self.highest.map(|highest| highest.epoch)
    }

    /// Begins to follow the log from its end.
    pub(in crate::backends::redis) fn begin(&mut self, top: Position) {
        self.cursor = Some(top);
        self.highest = Some(top);
    }

    /// What to ask with the next look.
    pub(in crate::backends::redis) fn head_query(&mut self, now: Instant) -> HeadQuery {
        self.grace.retain(|grace| grace.until >= now);
        if self.grace.is_empty() {
            self.skipped = 0;
        }
        let mut positions: Vec<_> = self.cursor.or(self.highest).into_iter().collect();
        for end in &self.ends {
            // What this node has of an earlier epoch ends where it stands, or where that one ended.
            let offset = positions
                .last()
                .map_or(end.offset, |later| later.offset.min(end.offset));
            let epoch = end.epoch;
            positions.push(Position { offset, epoch });
        }
        HeadQuery {
            positions,
            // The epoch that it knows may have ended by now.
            left: self
                .highest
                .into_iter()
                .chain(self.grace.iter().map(|grace| grace.highest))
                .collect(),
        }
    }

    /// Goes over to the epoch that a look has found. `None` where the look did not ask about the one that ends.
    pub(in crate::backends::redis) fn truncation(&mut self, head: &LogHead, now: Instant) -> Option<Truncation> {
        let highest = self.highest?;
        if head.head_query.positions.first()?.epoch != highest.epoch {
            return None;
        }
        let progress = self.cursor.map_or(highest.offset, |cursor| cursor.offset);
        let lost = |epoch| {
            let mut left = head.head_query.left.iter().zip(&head.lost);
            left.find(|(left, _)| left.epoch == epoch).map_or(0, |(_, lost)| *lost)
        };
        let end = highest.offset.max(lost(highest.epoch));
        // From a position that nobody knows any more nobody can tell what is new: what is there now counts as missed.
        let kept = head.kept.unwrap_or(head.top);
        let good = head.good.unwrap_or(kept);
        let is_missed = end > good.max(progress) || (head.kept.is_none() && head.top > 0);
        // Where no other node has appended anything since, the log has merely gone back. On the same server it cannot have:
        // then a false message was delivered.
        let has_other = head.top > kept || self.run.as_ref() == Some(&head.run);
        let is_diverged = self.cursor.is_some() && head.kept.is_some_and(|kept| progress > kept) && has_other;
        self.grace.push_front(EpochGrace {
            highest,
            settled: progress.max(end),
            until: now + EPOCH_GRACE,
        });
        self.grace.truncate(EPOCHS);
        if head.good.is_some() {
            let (epoch, offset) = (highest.epoch, good);
            self.ends.push_front(Position { offset, epoch });
            self.ends.truncate(EPOCHS);
        } else if head.kept.is_none() {
            self.ends.clear();
        }
        let start = Position {
            epoch: head.epoch,
            offset: kept,
        };
        if self.cursor.is_some() {
            self.cursor = Some(start);
        }
        self.highest = Some(start);
        Some(Truncation {
            gone: end.saturating_sub(good),
            is_missed,
            is_diverged,
            kept,
        })
    }

    /// Whether a later look tells of a loss, at the end of the epoch before, that this node did not know of.
    pub(in crate::backends::redis) fn learns_of_a_loss(&mut self, head: &LogHead) -> bool {
        let mut is_news = head.skipped > self.skipped && !self.grace.is_empty();
        if is_news {
            self.skipped = head.skipped;
        }
        for (left, lost) in head.head_query.left.iter().zip(&head.lost) {
            let mut ends = self.grace.iter_mut();
            if let Some(end) = ends.find(|end| end.highest.epoch == left.epoch && *lost > end.settled) {
                end.settled = *lost;
                is_news = true;
            }
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Epoch = Epoch::from_raw(1);
    const NEW: Epoch = Epoch::from_raw(2);
    const NEWEST: Epoch = Epoch::from_raw(3);

    fn at(epoch: Epoch, offset: u64) -> Position {
        Position { offset, epoch }
    }

    /// A node that has come to `cursor` and knows of `highest`.
    fn progress(cursor: u64, highest: u64) -> ConsumerProgress {
        let mut progress = ConsumerProgress::default();
        progress.begin(at(OLD, cursor));
        progress.note(at(OLD, highest));
        progress
    }

    /// What a look shows in which the old epoch is good up to `good`.
    fn head(progress: &mut ConsumerProgress, good: u64, lost: u64) -> LogHead {
        let head_query = progress.head_query(Instant::now());
        LogHead {
            run: "new".into(),
            epoch: NEW,
            top: good,
            asked: Instant::now(),
            kept: Some(good.min(head_query.positions[0].offset)),
            good: Some(good),
            lost: head_query
                .left
                .iter()
                .map(|left| if left.epoch == OLD { lost } else { 0 })
                .collect(),
            head_query,
            skipped: 0,
        }
    }

    fn truncation(progress: &mut ConsumerProgress, good: u64, lost: u64) -> Truncation {
        let head = head(progress, good, lost);
        progress.truncation(&head, Instant::now()).unwrap()
    }

    #[test]
    fn an_epoch_that_lost_nothing_goes_on_where_it_was() {
        let mut progress = progress(95, 100);
        let truncation = truncation(&mut progress, 100, 0);
        assert_eq!((truncation.gone, truncation.is_missed), (0, false));
        assert_eq!(progress.cursor, Some(at(NEW, 95)));
    }

    #[test]
    fn what_was_delivered_and_is_gone_is_counted_and_not_missed() {
        let mut progress = progress(100, 100);
        let truncation = truncation(&mut progress, 80, 0);
        assert_eq!((truncation.gone, truncation.is_missed), (20, false));
        assert_eq!(progress.cursor, Some(at(NEW, 80)));
    }

    #[test]
    fn entries_that_took_the_place_of_delivered_ones_are_a_divergence() {
        // The new server has the first 80 entries of the old epoch, and perhaps five that others have appended since.
        for (cursor, top, is_diverged) in [(100, 80, false), (100, 85, true), (80, 85, false), (70, 85, false)] {
            let mut progress = progress(cursor, cursor);
            let head = LogHead {
                top,
                ..head(&mut progress, 80, 0)
            };
            let truncation = progress.truncation(&head, Instant::now()).unwrap();
            assert_eq!(
                (truncation.is_diverged, truncation.is_missed),
                (is_diverged, false),
                "{cursor} {top}"
            );
            assert_eq!(progress.cursor, Some(at(NEW, cursor.min(80))));
        }
    }

    #[test]
    fn what_was_delivered_and_the_same_server_does_not_have_is_a_divergence() {
        for (cursor, is_diverged) in [(81, true), (80, false)] {
            let mut progress = progress(cursor, cursor);
            progress.run = Some("new".into());
            let truncation = truncation(&mut progress, 80, 0);
            assert_eq!((truncation.is_diverged, truncation.gone), (is_diverged, cursor - 80));
        }
    }

    #[test]
    fn a_node_without_receivers_does_not_diverge() {
        let mut progress = progress(100, 100);
        progress.cursor = None;
        let head = LogHead {
            top: 85,
            ..head(&mut progress, 80, 0)
        };
        assert!(!progress.truncation(&head, Instant::now()).unwrap().is_diverged);
    }

    #[test]
    fn what_is_gone_before_it_was_delivered_is_missed() {
        assert!(truncation(&mut progress(90, 100), 80, 0).is_missed);
        // Another node knows of more.
        assert!(truncation(&mut progress(90, 90), 80, 95).is_missed);
    }

    #[test]
    fn a_loss_that_another_node_tells_of_later_is_learnt_once() {
        let mut progress = progress(90, 90);
        assert!(!truncation(&mut progress, 80, 0).is_missed);
        let later = |progress: &mut ConsumerProgress, lost, skipped| LogHead {
            skipped,
            ..head(progress, 80, lost)
        };
        for (lost, skipped, is_news) in [(95, 0, true), (95, 0, false), (95, 3, true), (95, 3, false)] {
            let head = later(&mut progress, lost, skipped);
            assert_eq!(head.head_query.left, [at(NEW, 80), at(OLD, 90)]);
            assert_eq!(progress.learns_of_a_loss(&head), is_news, "{lost} {skipped}");
        }
        let head_query = progress.head_query(Instant::now() + 2 * EPOCH_GRACE);
        assert_eq!(head_query.left, [at(NEW, 80)]);
    }

    #[test]
    fn a_node_can_go_on_from_an_epoch_before_one_that_is_not_known_any_more() {
        let mut progress = progress(100, 100);
        truncation(&mut progress, 80, 0);
        progress.note(at(NEW, 120));
        progress.cursor = Some(at(NEW, 120));
        let head_query = progress.head_query(Instant::now());
        assert_eq!(head_query.positions, [at(NEW, 120), at(OLD, 80)]);
        // The server has lost the new epoch as a whole, and some of what came before it.
        let head = LogHead {
            run: "newest".into(),
            epoch: NEWEST,
            top: 70,
            asked: Instant::now(),
            lost: vec![0; head_query.left.len()],
            head_query,
            kept: Some(70),
            good: None,
            skipped: 0,
        };
        let truncation = progress.truncation(&head, Instant::now()).unwrap();
        assert_eq!(
            (truncation.gone, truncation.is_missed, truncation.kept),
            (50, false, 70)
        );
        let head_query = progress.head_query(Instant::now());
        assert_eq!(head_query.positions, [at(NEWEST, 70), at(OLD, 70)]);
    }

    #[test]
    fn a_node_whose_positions_are_all_forgotten_begins_at_the_end_and_says_so() {
        let mut progress = progress(100, 100);
        let head = LogHead {
            kept: None,
            good: None,
            top: 5000,
            ..head(&mut progress, 0, 0)
        };
        let truncation = progress.truncation(&head, Instant::now()).unwrap();
        assert!(truncation.is_missed);
        assert_eq!(progress.cursor, Some(at(NEW, 5000)));
    }
}
