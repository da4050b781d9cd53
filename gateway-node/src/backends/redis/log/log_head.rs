//! The head of a log, the progress of this node in it, and the losses at the end of an epoch.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use shared::v1::payload::GuildCount;
use tokio::time::Instant;

use crate::backplane::{Epoch, Position};

/// How long after the end of an epoch the nodes still exchange its losses.
const EPOCH_GRACE: Duration = Duration::from_secs(60);
/// How many past epochs a node remembers, in case the server has lost the start of a later epoch, or more of an earlier
/// one.
const EPOCHS: usize = 8;

/// The query sent to read the head of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::backends::redis) struct HeadQuery {
    /// The positions from which this node could continue, latest first.
    pub(in crate::backends::redis) positions: Vec<Position>,
    /// The last entry that it has seen of each epoch that it has left, latest first.
    pub(in crate::backends::redis) left: Vec<Position>,
}

/// The head of the log, as read from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backends::redis) struct LogHead {
    /// The server's `run_id`.
    pub(in crate::backends::redis) run: Arc<str>,
    /// The epoch of the log.
    pub(in crate::backends::redis) epoch: Epoch,
    /// The offset of its last entry.
    pub(in crate::backends::redis) top: u64,
    /// When it was requested. Entries appended before that are included.
    pub(in crate::backends::redis) asked: Instant,
    /// The query.
    pub(in crate::backends::redis) head_query: HeadQuery,
    /// The offset after which this node continues; `None` if none of its positions is known any more.
    pub(in crate::backends::redis) kept: Option<u64>,
    /// The last offset that has survived of the epoch that this node knew; `None` if that epoch is not known any more.
    pub(in crate::backends::redis) good: Option<u64>,
    /// The guild counts that were broadcast last.
    pub(in crate::backends::redis) counts: GuildCount,
    /// For each past epoch: the highest offset any node saw that the server has since lost, or 0.
    pub(in crate::backends::redis) lost: Vec<u64>,
    /// The number of entries that were seen and lost in epochs after the first of those.
    pub(in crate::backends::redis) skipped: u64,
}

/// The progress of this node in the log.
#[derive(Debug, Default)]
pub(in crate::backends::redis) struct ConsumerProgress {
    /// The position of the last entry delivered; `None` while the node has no receivers.
    pub(in crate::backends::redis) cursor: Option<Position>,
    /// The `run_id` of the server, when the head was last read.
    pub(in crate::backends::redis) run: Option<Arc<str>>,
    /// The highest entry known, in the epoch known.
    highest: Option<Position>,
    /// Since when there have been entries that are not delivered, if there are any.
    behind_since: Option<Instant>,
    /// The ends of earlier epochs, latest first.
    ends: VecDeque<Position>,
    /// The ends of epochs of which more losses may become known, latest first.
    grace: VecDeque<EpochGrace>,
    /// The number of entries known to be lost in epochs after the first of those.
    skipped: u64,
}

/// The end of an epoch. The node may still learn of more losses there.
#[derive(Debug)]
struct EpochGrace {
    highest: Position,
    /// The last of its entries that this node has delivered, or whose loss it has reported to its sessions.
    settled: u64,
    until: Instant,
}

/// The entries lost at the end of an epoch.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backends::redis) struct Truncation {
    /// The number of entries that were in the log and are lost, as far as this node knows.
    pub(in crate::backends::redis) gone: u64,
    /// Whether this node has not delivered some of them, and no longer can.
    pub(in crate::backends::redis) is_missed: bool,
    /// Whether other entries have taken the place of entries that this node has delivered. The next entries were then
    /// not necessarily sent after the delivered ones.
    pub(in crate::backends::redis) is_diverged: bool,
    /// The offset after which this node continues.
    pub(in crate::backends::redis) kept: u64,
}

impl ConsumerProgress {
    /// Records an entry of the known epoch. An entry of another epoch is ignored: the next read of the head finds it.
    pub(in crate::backends::redis) fn note(&mut self, position: Position) {
        match &mut self.highest {
            Some(highest) if highest.epoch == position.epoch => highest.offset = highest.offset.max(position.offset),
            Some(_) => {}
            highest => *highest = Some(position),
        }
        if self.is_behind() {
            self.behind_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether there are entries in the known epoch that are not delivered, although the node has receivers.
    fn is_behind(&self) -> bool {
        self.cursor
            .zip(self.highest)
            .is_some_and(|(cursor, highest)| cursor.epoch == highest.epoch && cursor.offset < highest.offset)
    }

    /// For how long there have been entries that are not delivered.
    pub(in crate::backends::redis) fn behind(&self) -> Duration {
        let since = self.behind_since.filter(|_| self.is_behind());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Moves the cursor to an entry of its epoch.
    pub(in crate::backends::redis) fn advance(&mut self, to: Position) {
        if let Some(cursor) = &mut self.cursor {
            *cursor = to;
            self.note(to);
        }
        if !self.is_behind() {
            self.behind_since = None;
        }
    }

    /// The epoch that this node knows.
    pub(in crate::backends::redis) fn epoch(&self) -> Option<Epoch> {
        self.highest.map(|highest| highest.epoch)
    }

    /// Starts to follow the log from its end.
    pub(in crate::backends::redis) fn begin(&mut self, top: Position) {
        self.cursor = Some(top);
        self.highest = Some(top);
    }

    /// Returns the query for the next read of the head.
    pub(in crate::backends::redis) fn head_query(&mut self, now: Instant) -> HeadQuery {
        self.grace.retain(|grace| grace.until >= now);
        if self.grace.is_empty() {
            self.skipped = 0;
        }
        let mut positions: Vec<_> = self.cursor.or(self.highest).into_iter().collect();
        for end in &self.ends {
            // What this node has of an earlier epoch ends at its own position or at the end of that epoch, whichever is
            // lower.
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

    /// Moves to the epoch that a read has found. Returns `None` if the read did not ask about the epoch that ends.
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
        // If the server does not know any of the positions, new entries cannot be distinguished from old ones:
        // everything in the log counts as missed.
        let kept = head.kept.unwrap_or(head.top);
        let good = head.good.unwrap_or(kept);
        let is_missed = end > good.max(progress) || (head.kept.is_none() && head.top > 0);
        // If no other node has appended anything since, the log has only been rolled back. On the same server it cannot
        // have been: then a forged message was delivered.
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

    /// Whether a later read shows a loss at the end of the previous epoch that this node did not know of.
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

    /// A node that has delivered up to `cursor` and knows of `highest`.
    fn progress(cursor: u64, highest: u64) -> ConsumerProgress {
        let mut progress = ConsumerProgress::default();
        progress.begin(at(OLD, cursor));
        progress.note(at(OLD, highest));
        progress
    }

    /// The head of a log in which the old epoch has survived up to `good`.
    fn head(progress: &mut ConsumerProgress, good: u64, lost: u64) -> LogHead {
        let head_query = progress.head_query(Instant::now());
        LogHead {
            run: "new".into(),
            epoch: NEW,
            top: good,
            asked: Instant::now(),
            kept: Some(good.min(head_query.positions[0].offset)),
            good: Some(good),
            counts: GuildCount::default(),
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

    #[tokio::test(start_paused = true)]
    async fn a_node_is_behind_from_the_first_missing_entry_until_it_has_all() {
        let mut progress = progress(5, 5);
        assert_eq!(progress.behind(), Duration::ZERO);
        progress.note(at(OLD, 6));
        tokio::time::advance(Duration::from_secs(2)).await;
        progress.note(at(OLD, 7));
        progress.advance(at(OLD, 6));
        assert_eq!(progress.behind(), Duration::from_secs(2));
        progress.advance(at(OLD, 7));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(progress.behind(), Duration::ZERO);
        // Without receivers there is nothing to deliver.
        progress.cursor = None;
        progress.note(at(OLD, 9));
        assert_eq!(progress.behind(), Duration::ZERO);
    }

    #[test]
    fn a_new_epoch_without_losses_keeps_the_cursor() {
        let mut progress = progress(95, 100);
        let truncation = truncation(&mut progress, 100, 0);
        assert_eq!((truncation.gone, truncation.is_missed), (0, false));
        assert_eq!(progress.cursor, Some(at(NEW, 95)));
    }

    #[test]
    fn lost_entries_that_were_delivered_count_as_gone_but_not_missed() {
        let mut progress = progress(100, 100);
        let truncation = truncation(&mut progress, 80, 0);
        assert_eq!((truncation.gone, truncation.is_missed), (20, false));
        assert_eq!(progress.cursor, Some(at(NEW, 80)));
    }

    #[test]
    fn entries_that_replace_delivered_ones_are_a_divergence() {
        // The new server has the first 80 entries of the old epoch, and possibly five that other nodes have appended
        // since.
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
    fn a_delivered_entry_missing_on_the_same_server_is_a_divergence() {
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
    fn entries_lost_before_delivery_are_missed() {
        assert!(truncation(&mut progress(90, 100), 80, 0).is_missed);
        // Another node has seen more entries.
        assert!(truncation(&mut progress(90, 90), 80, 95).is_missed);
    }

    #[test]
    fn a_loss_reported_later_by_another_node_is_learnt_once() {
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
    fn a_node_continues_from_the_last_epoch_the_server_knows() {
        let mut progress = progress(100, 100);
        truncation(&mut progress, 80, 0);
        progress.note(at(NEW, 120));
        progress.cursor = Some(at(NEW, 120));
        let head_query = progress.head_query(Instant::now());
        assert_eq!(head_query.positions, [at(NEW, 120), at(OLD, 80)]);
        // The server has lost the whole new epoch, and part of what came before it.
        let head = LogHead {
            run: "newest".into(),
            epoch: NEWEST,
            top: 70,
            asked: Instant::now(),
            counts: GuildCount::default(),
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
    fn a_node_without_known_positions_restarts_at_the_end_and_reports_a_gap() {
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
