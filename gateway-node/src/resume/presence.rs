//! How a bot is seen in a guild: what is told of it there, and what is told once its session is over.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use shared::{
    client_type::ClientTypes,
    discord::{Header, Presence, Status, Target, VoiceState},
    routing::Delivery,
};

use super::Store;
use crate::backplane::{Owner, Publication};

/// What a session wants to be seen as.
#[derive(Debug, Clone)]
pub enum PresenceChange {
    /// A presence, in these guilds.
    Presence(Arc<PresencePayload>, Vec<u64>),
    /// A voice state.
    Voice(Arc<VoicePayload>),
}

/// A presence of a bot user, whatever the guild.
#[derive(Debug)]
pub struct PresencePayload {
    user: u64,
    presence: Presence,
    /// What tells it from another one; none where it is that of who is not there.
    digest: Option<u64>,
}

/// A voice state in one guild.
#[derive(Debug, PartialEq, Eq)]
pub struct VoicePayload {
    guild: u64,
    /// What is told of it.
    d: Arc<str>,
    /// What is told once its session is over; none where it is in no channel.
    leaving: Option<Arc<str>>,
}

/// One thing to be told of a bot in one guild.
#[derive(Debug, Clone)]
pub(crate) enum PresenceEvent {
    Presence(Arc<PresencePayload>, u64),
    Voice(Arc<VoicePayload>),
}

/// What a session may say about how it is seen, for as long as it is its owner's.
#[derive(Clone)]
pub struct PresencePublisher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owner: Owner,
}

impl PresencePublisher {
    /// Whose session it is.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Has it seen like this as soon as may be. False where too much of that waits already.
    pub fn change(&self, change: PresenceChange) -> bool {
        self.store.change_presence(&self.owner, change)
    }
}

impl fmt::Debug for PresencePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Appearing").field(&self.owner).finish()
    }
}

impl PresencePayload {
    /// This presence of a bot user.
    pub fn new(user: u64, presence: Presence) -> Self {
        let is_there = presence.status.shown() != Status::Offline.shown() || !presence.activities.is_empty();
        let digest = is_there.then(|| {
            let digest = Sha256::digest(presence.update(user, 0).to_string());
            digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
        });
        Self { user, presence, digest }
    }

    /// What tells it from another one; none where it is that of who is not there.
    pub(crate) const fn digest(&self) -> Option<u64> {
        self.digest
    }

    fn d(&self, guild: u64) -> Arc<str> {
        self.presence.update(self.user, guild).to_string().into()
    }
}

impl VoicePayload {
    /// What is told of this state of a session, and once that is over, as `told` says it.
    pub fn new(state: VoiceState, published: impl Fn(VoiceState) -> String) -> Self {
        Self {
            guild: state.guild,
            d: published(state).into(),
            leaving: state.channel.map(|_| published(state.left()).into()),
        }
    }

    /// The guild.
    pub(crate) const fn guild(&self) -> u64 {
        self.guild
    }

    /// What is told once its session is over.
    pub(crate) const fn leaving(&self) -> Option<&Arc<str>> {
        self.leaving.as_ref()
    }
}

impl PresenceEvent {
    pub(crate) fn guild(&self) -> u64 {
        match self {
            Self::Presence(_, guild) => *guild,
            Self::Voice(voice) => voice.guild,
        }
    }

    /// The data of the event that tells of it.
    pub(crate) fn d(&self) -> Arc<str> {
        match self {
            Self::Presence(payload, guild) => payload.d(*guild),
            Self::Voice(voice) => Arc::clone(&voice.d),
        }
    }

    /// The event that tells of it.
    pub(crate) fn event(&self) -> Publication {
        let name = match self {
            Self::Presence(..) => PRESENCE_UPDATE,
            Self::Voice(_) => VOICE_STATE_UPDATE,
        };
        event(name, self.guild(), self.d())
    }
}

pub(crate) const PRESENCE_UPDATE: &str = "PRESENCE_UPDATE";
pub(crate) const VOICE_STATE_UPDATE: &str = "VOICE_STATE_UPDATE";

/// Who receives an event of a guild.
pub(crate) fn header(name: &str, guild: u64) -> Header {
    Header::from_parts(name, Some(guild), None, Box::default(), Target::All)
}

pub(crate) fn event(name: &'static str, guild: u64, d: Arc<str>) -> Publication {
    Publication {
        name: name.into(),
        receivers: ClientTypes::NONE,
        delivery: Delivery::All,
        author: None,
        discord: Some(Arc::new(header(name, guild))),
        d,
    }
}

/// The presence of who is not there, `d` of a `PRESENCE_UPDATE`.
pub(crate) fn offline(user: u64, guild: u64) -> Arc<str> {
    let presence = Presence {
        status: Status::Offline,
        ..Presence::default()
    };
    presence.update(user, guild).to_string().into()
}
