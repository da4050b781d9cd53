//! When this node accepted the publications that it has not taken from the log yet.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::Origin;

/// How many publications are remembered. Of one that is overwritten, the time is unknown.
const PLACES: usize = 1024;

/// The times of the latest publications, each at the place that its origin gives it.
pub(in crate::backends::redis) struct Acceptances(Mutex<Vec<Acceptance>>);

/// A publication and when it was accepted, or `None` if its place is free.
type Acceptance = Option<(Origin, Instant)>;

impl Default for Acceptances {
    fn default() -> Self {
        Self(Mutex::new(vec![None; PLACES]))
    }
}

impl Acceptances {
    /// Records that `count` events with consecutive origins were accepted at `time`.
    pub(in crate::backends::redis) fn record(&self, origin: Origin, count: usize, time: Instant) {
        let mut places = self.0.lock();
        for origin in (0..count as u64).map(|index| origin.wrapping_add(index)) {
            places[place(origin)] = Some((origin, time));
        }
    }

    /// Returns when this node accepted the event with this origin, if it did, and forgets it.
    pub(in crate::backends::redis) fn take(&self, origin: Origin) -> Option<Instant> {
        let mut places = self.0.lock();
        let (_, time) = places[place(origin)].take_if(|(known, _)| *known == origin)?;
        Some(time)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below PLACES")]
const fn place(origin: Origin) -> usize {
    (origin % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_each_event_is_returned_once() {
        let (acceptances, now) = (Acceptances::default(), Instant::now());
        acceptances.record(u64::MAX, 2, now);
        assert_eq!(acceptances.take(1), None);
        assert_eq!(acceptances.take(0), Some(now));
        assert_eq!(acceptances.take(u64::MAX), Some(now));
        assert_eq!(acceptances.take(u64::MAX), None);
    }

    #[test]
    fn a_later_event_at_the_same_place_replaces_an_earlier_one() {
        let (acceptances, now) = (Acceptances::default(), Instant::now());
        acceptances.record(7, 1, now);
        acceptances.record(7 + PLACES as u64, 1, now);
        assert_eq!(acceptances.take(7), None);
        assert_eq!(acceptances.take(7 + PLACES as u64), Some(now));
    }
}
