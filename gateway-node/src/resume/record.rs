//! What is known of one session.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use shared::{
    discord::{Filter, Version},
    session_id::SessionId,
};

use super::SessionOwnership;
use crate::{backplane::Position, guilds::MembersChunk};

/// What a session identified with. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The application that it belongs to.
    pub application: Arc<str>,
    /// The id of the key that it showed.
    pub key: Arc<str>,
    /// Which events it receives.
    pub filter: Filter,
    /// The number of the rules that the filter follows.
    pub filter_version: u8,
    /// The version of the protocol that it identified with.
    pub version: Version,
    /// The number of members from which guilds come without those that are offline.
    pub large_threshold: u16,
}

/// A point that a session's numbers can be counted on from: dispatch `s` is the last one that the log up to `position`
/// yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of a dispatch.
    pub s: u64,
    /// The end of the log at that number.
    pub position: Position,
}

/// A dispatch for one session alone, which stands in no log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateRecord {
    /// Its number.
    pub s: u64,
    /// What it says.
    pub body: PrivateBody,
}

/// What a dispatch for one session alone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateBody {
    /// An event, as it was sent.
    Event {
        /// Its name.
        name: Arc<str>,
        /// Its data: JSON.
        d: Arc<str>,
    },
    /// What the session is told of a guild when it begins. It is made anew when it is needed again, and may then be newer.
    Guild(u64),
    /// What answers a request. It is made when it is sent, and made anew when it is sent again.
    Answer(Recipe),
}

/// What an answer to a request is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipe {
    /// A chunk of members.
    #[serde(rename = "members")]
    Members(MembersChunk),
    /// The soundboard sounds of a guild.
    #[serde(rename = "sounds")]
    Sounds(u64),
    /// What the channels of a guild are doing.
    #[serde(rename = "channels")]
    Channels(u64),
}

impl PrivateRecord {
    /// What it weighs while it is kept, in bytes.
    pub fn weight(&self) -> usize {
        let text = match &self.body {
            PrivateBody::Event { name, d } => name.len() + d.len(),
            PrivateBody::Answer(Recipe::Members(chunk)) => chunk.weight(),
            PrivateBody::Guild(_) | PrivateBody::Answer(Recipe::Sounds(_) | Recipe::Channels(_)) => 0,
        };
        size_of::<Self>() + text
    }
}

/// A session that was opened. It has had no dispatch yet.
#[derive(Debug)]
pub struct OpenedSession {
    /// The hold on it.
    pub ownership: SessionOwnership,
    /// What it identified with.
    pub record: Arc<Record>,
    /// The end of the log at that moment: it receives what stands after it.
    pub since: Position,
}

/// A client that wants to go on with a session.
#[derive(Debug, Clone)]
pub struct ResumeParams {
    /// The application of the key that it shows.
    pub application: Arc<str>,
    /// The id of that key.
    pub key: Arc<str>,
    /// The session.
    pub id: SessionId,
    /// The last dispatch that it has.
    pub seq: u64,
}

/// A session that goes on here, and nowhere else any more.
#[derive(Debug)]
pub struct ResumedSession {
    /// The hold on it.
    pub ownership: SessionOwnership,
    /// What it identified with.
    pub record: Arc<Record>,
    /// From where to count on.
    pub checkpoint: Checkpoint,
    /// What it got alone after that, by number.
    pub privates: BTreeMap<u64, PrivateBody>,
    /// The end of the log when it was taken over, up to where it is not told that it goes on; none where its node cannot be
    /// behind that.
    pub end: Option<Position>,
}

/// Why a session does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// There is none, or not from that dispatch on.
    #[error("the session cannot be resumed")]
    Gone,
    /// The cluster cannot answer now.
    #[error("the backplane is away")]
    Unavailable,
}
