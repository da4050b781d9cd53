//! Reads the log of an application for a request.

use std::sync::Arc;

use super::{ApiError, HttpState};
use crate::{
    backplane::{Entry, Position},
    replay::ReadFrom,
    resume::ReadError,
};

/// A part of the log, up to a position.
pub(super) struct LogPart {
    /// The entries.
    pub(super) entries: Vec<Entry>,
    /// The position of the last one, or a later one before the next.
    pub(super) through: Position,
    /// Whether the log has no more now.
    pub(super) is_end: bool,
}

/// Returns where to read: at the position of the request, or before the oldest entry.
pub(super) async fn start(api: &HttpState, application: &Arc<str>, after: Option<&str>) -> Result<Position, ApiError> {
    if let Some(after) = after {
        // A position of the right shape that no log has is like one that this log does not have.
        return after.parse().map_err(|_| ApiError::EventsLost);
    }
    let range = api.app.backplane.log_range(application).await;
    let range = range.map_err(|_| ApiError::LogAway)?;
    let floor = || api.app.registry.replay_floor(application).unwrap_or(range.end);
    Ok(range.start.unwrap_or_else(floor))
}

impl LogPart {
    /// Reads from the replay buffer of this node, or else from the log.
    pub(super) async fn read(
        api: &HttpState,
        application: &Arc<str>,
        after: Position,
        most: usize,
    ) -> Result<Self, ApiError> {
        let registry = &api.app.registry;
        let is_buffered = registry.replay_floor(application).is_some();
        if is_buffered && let Ok(page) = registry.read(application, ReadFrom::Position(after), most) {
            return Ok(Self {
                entries: page.entries().map(|entry| entry.entry().clone()).collect(),
                through: page.next.position(),
                is_end: page.end.is_some(),
            });
        }
        match api.app.discord.read(application, after).await {
            Ok(page) => Ok(Self {
                is_end: page.is_end(),
                entries: page.entries,
                through: page.through,
            }),
            Err(ReadError::Unavailable) => Err(ApiError::LogAway),
            Err(ReadError::Severed) => {
                // An application that has had no entries has no buffer. Nothing comes before the end of its log.
                let range = api.app.backplane.log_range(application).await;
                let is_end = !is_buffered && range.is_ok_and(|range| range.end == after);
                is_end
                    .then_some(Self {
                        entries: Vec::new(),
                        through: after,
                        is_end,
                    })
                    .ok_or(ApiError::EventsLost)
            }
        }
    }
}
