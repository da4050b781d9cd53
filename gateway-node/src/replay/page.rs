//! One page of a log, as a session reads it.

use std::sync::Arc;

use bytes::Bytes;
use shared::{
    discord::{Content, Header},
    v1::Encoding,
};

use crate::{
    backplane::{Entry, Position},
    encode::{DispatchEncoder, LogCursor, encoded_event::EncodedEvent},
};

/// Where a session reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// After this position of the log.
    Position(Position),
    /// After this cursor, which an earlier page or the shard returned.
    Cursor(LogCursor),
}

impl ReadFrom {
    /// Returns the position in the log.
    pub const fn position(self) -> Position {
        match self {
            Self::Position(position) => position,
            Self::Cursor(cursor) => cursor.position,
        }
    }
}

/// Some entries of a log, in order.
pub struct ReplayPage {
    pub(crate) entries: Vec<Arc<EncodedEvent>>,
    /// Where the next page begins.
    pub next: ReadFrom,
    /// The cursor at the end of the log, or `None` if there is more to read.
    pub end: Option<LogCursor>,
    /// The last offset that the epoch in which the reading began shares with the current one, if they differ.
    pub cut: Option<u64>,
}

impl ReplayPage {
    /// Sets the last offset that the current epoch shares with the one in which the reading began.
    pub(crate) const fn cut_at(mut self, cut: Option<u64>) -> Self {
        self.cut = cut;
        self
    }

    /// Clears `end` if it is before this position, because there is more to read then.
    pub(crate) fn up_to(mut self, end: Option<Position>) -> Self {
        let is_behind = |here: LogCursor, there: Position| {
            here.position.epoch == there.epoch && here.position.offset < there.offset
        };
        if let (Some(here), Some(there)) = (self.end, end)
            && is_behind(here, there)
        {
            self.end = None;
        }
        self
    }

    /// Returns the entries in order.
    pub fn entries(&self) -> impl Iterator<Item = ReplayEntry<'_>> {
        self.entries.iter().map(|entry| ReplayEntry(entry))
    }
}

/// An entry that a session replays.
#[derive(Clone, Copy)]
pub struct ReplayEntry<'a>(&'a EncodedEvent);

impl<'a> ReplayEntry<'a> {
    /// Returns its offset in the log.
    pub const fn offset(self) -> u64 {
        self.0.entry.position.offset
    }

    /// Returns its header, which says who receives it.
    pub fn header(self) -> Option<&'a Header> {
        self.0.entry.discord.as_deref()
    }

    /// Returns the entry itself.
    pub(crate) const fn entry(self) -> &'a Entry {
        &self.0.entry
    }

    /// Whether it has the guild counts.
    pub(crate) const fn is_counts(self) -> bool {
        self.0.is_counts
    }

    /// Returns its frame for v1 sessions with this encoding that are told their positions.
    pub(crate) fn frame(self, encoding: Encoding) -> Bytes {
        self.0.frame(encoding, true).clone()
    }

    /// Encodes it as the next dispatch of a connection.
    pub fn dispatch(self, encoder: &DispatchEncoder, content: Content) -> Option<Bytes> {
        let dispatch = self.0.encoded(encoder.wire_format(), content)?;
        let mut frame = Vec::new();
        encoder.write(&dispatch, &mut frame);
        Some(frame.into())
    }
}

/// Why a log cannot be read from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The history does not reach back that far, or belongs to another epoch.
    #[error("the log does not lead on from there")]
    Severed,
    /// The node has not reached this position yet.
    #[error("the node has not come that far")]
    Ahead,
}
