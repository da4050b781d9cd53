//! The stored state of one session.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::{
    discord::{Filter, Version},
    session_id::SessionId,
};

use crate::{backplane::Position, guilds::MembersChunk};

/// What a session identified with. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The application that it belongs to.
    pub application: Arc<str>,
    /// The id of the API key that it presented.
    pub key: Arc<str>,
    /// Which events it receives.
    pub filter: Filter,
    /// The version of the filter rules.
    pub filter_version: u8,
    /// The protocol version that it identified with.
    pub version: Version,
    /// The member count from which guilds are sent without their offline members.
    pub large_threshold: u16,
}

/// A point from which a session's sequence numbers can be counted: dispatch `s` is the last one that the log up to
/// `position` produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The sequence number of a dispatch.
    pub s: u64,
    /// The end of the log at that dispatch.
    pub position: Position,
}

/// A dispatch to one session only. It is not in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateRecord {
    /// Its sequence number.
    pub s: u64,
    /// Its content.
    pub body: PrivateBody,
}

/// The content of a dispatch to one session only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateBody {
    /// An event, as it was sent.
    Event {
        /// Its name.
        name: Arc<str>,
        /// Its data: JSON.
        d: Arc<str>,
    },
    /// The guild that a session receives when it starts. It is generated again for each resend, and may then be newer.
    Guild(u64),
    /// The answer to a request. It is generated when it is sent, and generated again for each resend.
    Answer(Recipe),
}

/// What an answer to a request is generated from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipe {
    /// A chunk of members.
    #[serde(rename = "members")]
    Members(MembersChunk),
    /// The soundboard sounds of a guild.
    #[serde(rename = "sounds")]
    Sounds(u64),
    /// The current state of the channels of a guild.
    #[serde(rename = "channels")]
    Channels(u64),
}

impl PrivateRecord {
    /// Its size in storage, in bytes.
    pub fn weight(&self) -> usize {
        let text = match &self.body {
            PrivateBody::Event { name, d } => name.len() + d.len(),
            PrivateBody::Answer(Recipe::Members(chunk)) => chunk.weight(),
            PrivateBody::Guild(_) | PrivateBody::Answer(Recipe::Sounds(_) | Recipe::Channels(_)) => 0,
        };
        size_of::<Self>() + text
    }
}

/// The parameters of a resume.
#[derive(Debug, Clone)]
pub struct ResumeParams {
    /// The application of the key that the client presents.
    pub application: Arc<str>,
    /// The id of that key.
    pub key: Arc<str>,
    /// The session.
    pub id: SessionId,
    /// The sequence number of the last dispatch that the client has.
    pub seq: u64,
}

/// Why a session cannot be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The session does not exist, or cannot be resumed from that dispatch.
    #[error("the session cannot be resumed")]
    Gone,
    /// The backplane is unavailable.
    #[error("the backplane is unavailable")]
    Unavailable,
}
