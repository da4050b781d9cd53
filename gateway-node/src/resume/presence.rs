//! Presence and voice-state updates of bots: the events that publish them, and the events that undo them when the
//! session ends.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use shared::{
    client_type::ClientTypes,
    discord::{Header, Presence, Status, Target, VoiceState},
    routing::Delivery,
};

use crate::backplane::Publication;

/// A presence or voice-state change that a session requests.
#[derive(Debug, Clone)]
pub enum PresenceChange {
    /// A presence, for these guilds.
    Presence(Arc<PresencePayload>, Vec<u64>),
    /// A voice state.
    Voice(Arc<VoicePayload>),
}

/// The presence of a bot user, independent of the guild.
#[derive(Debug)]
pub struct PresencePayload {
    user: u64,
    presence: Presence,
    /// A digest of the presence; `None` if it is an offline presence without activities.
    digest: Option<u64>,
}

/// A voice state in one guild.
#[derive(Debug, PartialEq, Eq)]
pub struct VoicePayload {
    guild: u64,
    /// The data of the event that publishes it.
    d: Arc<str>,
    /// The data of the event that is published when the session ends: the bot leaves its channel. `None` if this voice
    /// state is in no channel.
    leaving: Option<Arc<str>>,
}

/// One update to publish about a bot in one guild.
#[derive(Debug, Clone)]
pub(crate) enum PresenceEvent {
    Presence(Arc<PresencePayload>, u64),
    Voice(Arc<VoicePayload>),
}

impl PresencePayload {
    /// Creates the payload of a bot user's presence.
    pub fn new(user: u64, presence: Presence) -> Self {
        let is_there = presence.status.shown() != Status::Offline.shown() || !presence.activities.is_empty();
        let digest = is_there.then(|| {
            let digest = Sha256::digest(presence.update(user, 0).to_string());
            digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
        });
        Self { user, presence, digest }
    }

    /// A digest of the presence; `None` if it is an offline presence without activities.
    pub(crate) const fn digest(&self) -> Option<u64> {
        self.digest
    }

    fn d(&self, guild: u64) -> Arc<str> {
        self.presence.update(self.user, guild).to_string().into()
    }
}

impl VoicePayload {
    /// Renders a voice state of a session with `told`, and also the state after the session has left the channel.
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

    /// The data of the event that undoes it when its session ends.
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

    /// The data of the event that publishes the update.
    pub(crate) fn d(&self) -> Arc<str> {
        match self {
            Self::Presence(payload, guild) => payload.d(*guild),
            Self::Voice(voice) => Arc::clone(&voice.d),
        }
    }

    /// The event that publishes the update.
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

/// The header that addresses an event to the sessions of a guild.
pub(crate) fn header(name: &str, guild: u64) -> Header {
    Header::from_parts(name, Some(guild), None, Box::default(), Target::All)
}

pub(crate) fn event(name: &'static str, guild: u64, d: Arc<str>) -> Publication {
    Publication {
        name: name.into(),
        receivers: ClientTypes::NONE,
        delivery: Delivery::All,
        author: None,
        require_receiver: false,
        user: None,
        to_tickets: false,
        trace: None,
        request: None,
        job: None,
        discord: Some(Arc::new(header(name, guild))),
        d,
    }
}

/// An offline presence, as the `d` of a `PRESENCE_UPDATE`.
pub(crate) fn offline(user: u64, guild: u64) -> Arc<str> {
    let presence = Presence {
        status: Status::Offline,
        ..Presence::default()
    };
    presence.update(user, guild).to_string().into()
}
