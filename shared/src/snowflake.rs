//! Session ids, unique in the cluster without coordination for each id.
//!
//! An id is `milliseconds since 2020-01-01 UTC (41 bits) | worker (10 bits) | sequence (12 bits)`: 63 bits, so it is
//! positive as an `i64`. The cluster grants each worker number for a window of time, and windows of the same number
//! never overlap. A generator that issues only ids of its own window therefore never repeats an id of another
//! generator.

use crate::session_id::SessionId;

/// The epoch of session ids: 2020-01-01T00:00:00Z, in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_577_836_800_000;
/// The highest worker number.
pub const MAX_WORKER: u16 = (1 << WORKER_BITS) - 1;

const WORKER_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const MAX_SEQUENCE: u16 = (1 << SEQUENCE_BITS) - 1;
const TIME_BITS: u32 = 63 - WORKER_BITS - SEQUENCE_BITS;
/// The first Unix millisecond that does not fit into an id (in 2089).
pub const END_MS: u64 = EPOCH_MS + (1 << TIME_BITS);

/// The period for which a worker number is granted: `start_ms <= t < end_ms`, in Unix milliseconds of the granting
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first millisecond of the window.
    pub start_ms: u64,
    /// The first millisecond after the window.
    pub end_ms: u64,
}

impl Window {
    /// Returns whether `ms` is inside the window.
    pub const fn contains(self, ms: u64) -> bool {
        self.start_ms <= ms && ms < self.end_ms
    }
}

/// Why a generator cannot be created, or an id cannot be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnowflakeError {
    /// The worker number does not fit into ten bits.
    #[error("worker number {worker} is over {MAX_WORKER}")]
    Worker {
        /// The rejected number.
        worker: u16,
    },
    /// The window is empty, or outside the years that an id can represent (2020 to 2089).
    #[error(
        "the window from {} to {} ms is empty or outside of {EPOCH_MS} to {END_MS} ms",
        window.start_ms,
        window.end_ms
    )]
    Window {
        /// The rejected window.
        window: Window,
    },
    /// The time is outside the window, where an id could collide with one of another generator.
    #[error("{now_ms} ms is outside of the granted window")]
    OutsideWindow {
        /// The time, in Unix milliseconds.
        now_ms: u64,
    },
    /// The window has no ids left. Each millisecond has 4096.
    #[error("the granted window has no ids left")]
    Exhausted,
}

/// Issues session ids for one worker number.
#[derive(Debug)]
pub struct Generator {
    worker: u16,
    window: Window,
    /// The time of the latest id. It never decreases, whatever the clock does.
    last_ms: u64,
    /// The sequence number of the next id at `last_ms`; `MAX_SEQUENCE + 1` when that millisecond is used up.
    sequence: u16,
}

impl Generator {
    /// Creates a generator for a worker number from 0 to [`MAX_WORKER`] and the window for which it is granted.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::Worker`] or [`SnowflakeError::Window`] if ids cannot represent them.
    pub fn new(worker: u16, window: Window) -> Result<Self, SnowflakeError> {
        if worker > MAX_WORKER {
            return Err(SnowflakeError::Worker { worker });
        }
        Ok(Self {
            worker,
            window: validated(window)?,
            last_ms: 0,
            sequence: 0,
        })
    }

    /// Replaces the window after the grant of the worker number was renewed. Ids continue from the latest one.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::Window`] if ids cannot represent the new window. The old window then stays in effect.
    pub fn renew(&mut self, window: Window) -> Result<(), SnowflakeError> {
        self.window = validated(window)?;
        Ok(())
    }

    /// Issues the next id, which is higher than all ids before it. `now_ms` is the Unix time of the clock that granted
    /// the window.
    ///
    /// Inside the window the clock may stand still or go back. Ids then continue from the highest time seen, and from
    /// the following millisecond once the 4096 ids of that one are used.
    ///
    /// # Errors
    ///
    /// [`SnowflakeError::OutsideWindow`] if `now_ms` is outside the window, [`SnowflakeError::Exhausted`] if continuing
    /// would leave it.
    pub fn next(&mut self, now_ms: u64) -> Result<SessionId, SnowflakeError> {
        if !self.window.contains(now_ms) {
            return Err(SnowflakeError::OutsideWindow { now_ms });
        }
        let (ms, sequence) = if now_ms > self.last_ms {
            (now_ms, 0)
        } else if self.sequence <= MAX_SEQUENCE {
            (self.last_ms, self.sequence)
        } else {
            (self.last_ms + 1, 0)
        };
        // A renewal may have shortened the window, so that it ends before the highest time seen.
        if !self.window.contains(ms) {
            return Err(SnowflakeError::Exhausted);
        }
        self.last_ms = ms;
        self.sequence = sequence + 1;
        let time = (ms - EPOCH_MS) << (WORKER_BITS + SEQUENCE_BITS);
        let worker = u64::from(self.worker) << SEQUENCE_BITS;
        Ok(SessionId::from_raw(time | worker | u64::from(sequence)))
    }
}

fn validated(window: Window) -> Result<Window, SnowflakeError> {
    let Window { start_ms, end_ms } = window;
    if EPOCH_MS <= start_ms && start_ms < end_ms && end_ms <= END_MS {
        Ok(window)
    } else {
        Err(SnowflakeError::Window { window })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const START: u64 = EPOCH_MS + 1_000_000;

    fn window(length_ms: u64) -> Window {
        Window {
            start_ms: START,
            end_ms: START + length_ms,
        }
    }

    fn generator(worker: u16, length_ms: u64) -> Generator {
        Generator::new(worker, window(length_ms)).unwrap()
    }

    fn ms_of(id: SessionId) -> u64 {
        (id.get() >> (WORKER_BITS + SEQUENCE_BITS)) + EPOCH_MS
    }

    #[test]
    fn an_id_holds_time_worker_and_sequence() {
        let mut generator = generator(3, 10);
        let first = generator.next(START).unwrap().get();
        assert_eq!(first, 1_000_000 << 22 | 3 << 12);
        assert_eq!(generator.next(START).unwrap().get(), first + 1);
    }

    #[test]
    fn the_highest_id_is_positive_as_an_i64() {
        let last = Window {
            start_ms: END_MS - 1,
            end_ms: END_MS,
        };
        let mut generator = Generator::new(MAX_WORKER, last).unwrap();
        let mut id = 0;
        for _ in 0..4096 {
            id = generator.next(END_MS - 1).unwrap().get();
        }
        assert_eq!(i64::try_from(id), Ok(i64::MAX));
    }

    #[test]
    fn workers_and_windows_that_do_not_fit_are_refused() {
        assert_eq!(
            Generator::new(1024, window(1)).unwrap_err(),
            SnowflakeError::Worker { worker: 1024 }
        );
        for (start_ms, end_ms) in [
            (START, START),
            (START + 1, START),
            (EPOCH_MS - 1, START),
            (START, END_MS + 1),
            (0, u64::MAX),
        ] {
            let window = Window { start_ms, end_ms };
            assert_eq!(
                Generator::new(0, window).unwrap_err(),
                SnowflakeError::Window { window }
            );
        }
    }

    #[test]
    fn no_id_is_issued_outside_the_window() {
        let mut generator = generator(0, 10);
        for now_ms in [0, START - 1, START + 10, u64::MAX] {
            assert_eq!(generator.next(now_ms), Err(SnowflakeError::OutsideWindow { now_ms }));
        }
        assert!(generator.next(START).is_ok() && generator.next(START + 9).is_ok());
    }

    #[test]
    fn the_4097th_id_of_a_millisecond_takes_the_next_millisecond() {
        let mut generator = generator(0, 2);
        for _ in 0..4096 {
            assert_eq!(ms_of(generator.next(START).unwrap()), START);
        }
        for _ in 0..4096 {
            assert_eq!(ms_of(generator.next(START).unwrap()), START + 1);
        }
        for _ in 0..2 {
            assert_eq!(generator.next(START), Err(SnowflakeError::Exhausted));
            assert_eq!(generator.next(START + 1), Err(SnowflakeError::Exhausted));
        }
        generator.renew(window(3)).unwrap();
        assert_eq!(ms_of(generator.next(START).unwrap()), START + 2);
    }

    #[test]
    fn a_clock_that_goes_back_inside_the_window_repeats_no_id() {
        let mut generator = generator(0, 10);
        let late = generator.next(START + 5).unwrap();
        let early = generator.next(START).unwrap();
        assert!(early > late);
        assert_eq!(ms_of(early), START + 5);
    }

    #[test]
    fn a_refused_renewal_keeps_the_old_window() {
        let mut generator = generator(0, 10);
        let empty = window(0);
        assert_eq!(generator.renew(empty), Err(SnowflakeError::Window { window: empty }));
        assert!(generator.next(START).is_ok());
    }

    /// Clock readings in and around a short window: enough calls at each to exhaust milliseconds.
    fn clock() -> impl Strategy<Value = Vec<(u64, u16)>> {
        prop::collection::vec((START - 2..START + 12, 1_u16..3000), 1..12)
    }

    fn issue(generator: &mut Generator, clock: &[(u64, u16)]) -> Vec<SessionId> {
        let calls = clock.iter().flat_map(|(ms, times)| (0..*times).map(|_| *ms));
        calls.filter_map(|ms| generator.next(ms).ok()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ids_increase_and_stay_in_the_window_whatever_the_clock_does(clock in clock()) {
            let ids = issue(&mut generator(5, 10), &clock);
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(ids.iter().all(|id| window(10).contains(ms_of(*id))));
            prop_assert!(ids.iter().all(|id| i64::try_from(id.get()).is_ok()));
        }

        #[test]
        fn two_workers_never_collide(
            workers in (0..=MAX_WORKER, 0..=MAX_WORKER),
            clocks in (clock(), clock()),
        ) {
            prop_assume!(workers.0 != workers.1);
            let ids: HashSet<_> = issue(&mut generator(workers.0, 10), &clocks.0).into_iter().collect();
            let others = issue(&mut generator(workers.1, 10), &clocks.1);
            prop_assert!(others.iter().all(|id| !ids.contains(id)));
        }

        #[test]
        fn two_holders_of_one_worker_number_never_collide(clocks in (clock(), clock()), split in 1_u64..9) {
            let early = Window { start_ms: START, end_ms: START + split };
            let late = Window { start_ms: START + split, end_ms: START + 10 };
            let ids: HashSet<_> = issue(&mut Generator::new(7, early).unwrap(), &clocks.0)
                .into_iter()
                .collect();
            let others = issue(&mut Generator::new(7, late).unwrap(), &clocks.1);
            prop_assert!(others.iter().all(|id| !ids.contains(id)));
        }

        #[test]
        fn a_renewal_repeats_no_id(clocks in (clock(), clock()), length_ms in 1_u64..12) {
            let mut generator = generator(7, 10);
            let mut ids = issue(&mut generator, &clocks.0);
            generator.renew(window(length_ms)).unwrap();
            ids.extend(issue(&mut generator, &clocks.1));
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
