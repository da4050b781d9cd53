//! The frames of an outbox that are dropped if they are not written in time.

use tokio::time::Instant;

/// Queued frames that are dropped at a time of their own, by their places in the queue, ascending. Most outboxes have
/// none, so this is not a part of each queued frame.
#[derive(Debug, Default)]
pub(super) struct ExpiringFrames(Vec<(usize, Instant)>);

impl ExpiringFrames {
    /// Adds a frame, which is the last one in the queue.
    pub(super) fn push(&mut self, place: usize, until: Instant) {
        self.0.push((place, until));
    }

    /// Records that the first `count` frames of the queue are written.
    pub(super) fn advance(&mut self, count: usize) {
        self.0.retain_mut(|(place, _)| {
            let is_queued = *place >= count;
            *place = place.saturating_sub(count);
            is_queued
        });
    }

    /// Forgets the frames from `place` on, which have been removed from the queue.
    pub(super) fn truncate(&mut self, place: usize) {
        self.0.retain(|(known, _)| *known < place);
    }

    /// Takes the place of a frame whose time is over, the last one first, and makes the later frames move up. The frame
    /// at place 0 stays if it `is_started`.
    pub(super) fn take_expired(&mut self, is_started: bool, now: Instant) -> Option<usize> {
        let is_over = |(place, until): &(usize, Instant)| *until <= now && !(is_started && *place == 0);
        let index = self.0.iter().rposition(is_over)?;
        let (expired, _) = self.0.remove(index);
        for (place, _) in &mut self.0[index..] {
            *place -= 1;
        }
        Some(expired)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frames(now: Instant) -> ExpiringFrames {
        let mut frames = ExpiringFrames::default();
        for (place, seconds) in [(0, 1), (2, 3), (5, 1), (6, 9)] {
            frames.push(place, now + Duration::from_secs(seconds));
        }
        frames
    }

    #[test]
    fn expired_frames_are_taken_from_the_end_and_the_others_move_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut of_queue = frames(now);
        let taken: Vec<_> = std::iter::from_fn(|| of_queue.take_expired(false, later)).collect();
        assert_eq!(taken, [5, 2, 0]);
        assert_eq!(of_queue.0, [(3, now + Duration::from_secs(9))]);
        // A frame that is partly written stays.
        let mut of_queue = frames(now);
        let taken: Vec<_> = std::iter::from_fn(|| of_queue.take_expired(true, later)).collect();
        assert_eq!(taken, [5, 2]);
        assert_eq!(frames(now).take_expired(false, now), None);
    }

    #[test]
    fn written_and_removed_frames_are_forgotten() {
        let now = Instant::now();
        let mut of_queue = frames(now);
        of_queue.advance(2);
        of_queue.truncate(4);
        let places: Vec<_> = of_queue.0.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 3]);
        of_queue.advance(4);
        assert!(of_queue.is_empty());
    }
}
