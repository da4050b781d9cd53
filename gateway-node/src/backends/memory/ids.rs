//! The source of session ids on a single node.

use shared::{
    session_id::SessionId,
    snowflake::{END_MS, Generator, SnowflakeError, Window},
};
use tokio::time::Instant;

/// A source of ids. Its time is the wall clock's at start and a monotonic clock's from then on, so that a step of the
/// wall clock cannot make it repeat an id.
#[derive(Debug)]
pub enum IdSource {
    /// Snowflakes.
    Clock {
        /// Generates the ids.
        generator: Generator,
        /// The wall clock at `since`, in ms since 1970.
        start_ms: u64,
        /// When the wall clock was read.
        since: Instant,
    },
    /// The same id every time, for the test that observes an id collision on the wire.
    Fixed(SessionId),
}

impl IdSource {
    /// Creates a source that starts at `unix_ms`, the wall clock's reading.
    ///
    /// # Errors
    /// When the wall clock is before the epoch of the ids, or later than they can represent.
    pub fn from_clock(unix_ms: u64) -> Result<Self, SnowflakeError> {
        // No other node allocates ids, so the window lasts as long as ids can represent.
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
    /// When the generator has no id to give.
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
