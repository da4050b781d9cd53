//! Where a lone node takes its ids from.

use shared::{
    session_id::SessionId,
    snowflake::{END_MS, Generator, SnowflakeError, Window},
};
use tokio::time::Instant;

/// A generator whose time is the wall clock's at start and a monotonic clock's from then on, so that a step of the
/// wall clock cannot make it repeat itself.
#[derive(Debug)]
pub enum IdSource {
    /// Snowflakes.
    Clock {
        /// Makes the ids.
        generator: Generator,
        /// The wall clock at `since`, in ms since 1970.
        start_ms: u64,
        /// When the wall clock was read.
        since: Instant,
    },
    /// The same id every time, for the test that reads a collision off the wire.
    Fixed(SessionId),
}

impl IdSource {
    /// Ids from now on, `unix_ms` being the wall clock's reading.
    ///
    /// # Errors
    /// When the wall clock stands before the ids' epoch or beyond what they can hold.
    pub fn from_clock(unix_ms: u64) -> Result<Self, SnowflakeError> {
        // Nobody else takes ids, so the window is as long as ids can be made.
        let window = Window {
            start_ms: unix_ms,
            end_ms: END_MS,
        };
        Ok(Self::Clock {
            generator: Generator::new(0, window)?,
            start_ms: unix_ms,
            since: Instant::now(),
        })
    }

    /// The next id.
    ///
    /// # Errors
    /// When the generator has none to give.
    pub(super) fn next(&mut self) -> Result<SessionId, SnowflakeError> {
        match self {
            Self::Fixed(id) => Ok(*id),
            Self::Clock {
                generator,
                start_ms,
                since,
            } => {
                let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                generator.next(start_ms.saturating_add(elapsed))
            }
        }
    }
}
