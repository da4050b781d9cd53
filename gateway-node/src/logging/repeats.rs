//! Limits warnings that libraries repeat, such as that no connection can be accepted.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use log::{Level, Record};
use parking_lot::Mutex;

/// The shortest time between two warnings or errors from the same line of a library.
const INTERVAL: Duration = Duration::from_secs(10);

/// When each line of library code last logged. The map is bounded by the number of such lines.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<(String, u32), CallSite>>);

struct CallSite {
    last: Instant,
    left_out: u64,
}

impl Repeats {
    /// Decides whether a record is logged. Returns the number of records left out before it, or `None` if it comes too
    /// soon after the last one from the same line. Records of the node itself and those below a warning always pass.
    pub(super) fn pass(&self, record: &Record<'_>, now: Instant) -> Option<u64> {
        if record.target().starts_with("gateway_node") || record.level() > Level::Warn {
            return Some(0);
        }
        let mut places = self.0.lock();
        let place = (record.target().to_owned(), record.line().unwrap_or_default());
        let Some(place) = places.get_mut(&place) else {
            places.insert(place, CallSite { last: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(place.last) < INTERVAL {
            place.left_out += 1;
            return None;
        }
        place.last = now;
        Some(std::mem::take(&mut place.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_library_errors_pass_once_per_interval() {
        let (repeats, start) = (Repeats::default(), crate::clock::monotonic());
        let pass = |target, line, level, after| {
            let record = Record::builder().target(target).line(Some(line)).level(level).build();
            repeats.pass(&record, start + after)
        };
        let accept = |after| pass("actix_server::accept", 469, Level::Error, after);
        assert_eq!(accept(Duration::ZERO), Some(0));
        for _ in 0..100 {
            assert_eq!(accept(INTERVAL / 2), None);
        }
        assert_eq!(
            pass("actix_server::accept", 420, Level::Error, INTERVAL / 2),
            Some(0),
            "another line"
        );
        assert_eq!(accept(INTERVAL), Some(100));
        assert_eq!(accept(INTERVAL * 2), Some(0));
    }

    #[test]
    fn own_records_and_low_levels_always_pass() {
        let (repeats, now) = (Repeats::default(), crate::clock::monotonic());
        for (target, level) in [
            ("gateway_node::session", Level::Error),
            ("actix_server::worker", Level::Debug),
        ] {
            let record = Record::builder().target(target).level(level).build();
            for _ in 0..3 {
                assert_eq!(repeats.pass(&record, now), Some(0));
            }
        }
    }
}
