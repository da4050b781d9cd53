//! The presence and the voice states that a bot wants to show.

use std::sync::Arc;

use shared::discord::{Filter, Presence, VoiceState};

use super::guild_query::guilds;
use crate::{
    backplane::Owner,
    guilds::Guilds,
    resume::{PresenceChange, PresencePayload, PresencePublisher, VoicePayload},
    session::CallContext,
};

/// The largest member object that is sent with a voice state, in bytes: it is stored with the session.
const MEMBER_BYTES: usize = 4096;

/// A presence or a voice state that a client wants to show.
#[derive(Debug)]
pub enum BotState {
    /// Shown in all guilds of the session.
    Presence(Presence),
    /// Shown in one guild.
    Voice(VoiceState),
}

/// Why a presence or a voice state is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BotStateError {
    /// The session does not have the guild, or the guild is unknown.
    UnknownGuild,
    /// This node does not know the guilds now.
    Unavailable,
    /// Too many changes are pending.
    Full,
}

impl BotStateError {
    /// Returns the label in the metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::UnknownGuild => "unknown_guild",
            Self::Unavailable => "guilds_away",
            Self::Full => "appearances_full",
        }
    }
}

/// Publishes a presence or a voice state of a bot to the guilds of its session.
///
/// # Errors
/// Says why it is not published.
pub(super) async fn publish(
    publisher: &PresencePublisher,
    filter: &Filter,
    state: BotState,
    cx: &CallContext,
) -> Result<(), BotStateError> {
    let Owner { application, id, .. } = publisher.owner();
    let change = match state {
        BotState::Presence(presence) => {
            let shown_in = guilds(application, None, cx, |guilds| guilds.of_shard(filter.shard)).await;
            PresenceChange::Presence(
                Arc::new(PresencePayload::new(filter.user, presence)),
                shown_in.map_err(|_| BotStateError::Unavailable)?,
            )
        }
        BotState::Voice(state) if filter.shard.has(Some(state.guild)) => {
            // Copied under the lock: while a guild is held elsewhere, the next event has to copy all of it.
            let speaker = |guilds: &Guilds| {
                let (member, user) = guilds.speaker(state.guild, filter.user)?;
                Some((member.cloned(), user.cloned()))
            };
            let known = guilds(application, None, cx, speaker).await;
            let (member, user) = known
                .map_err(|_| BotStateError::Unavailable)?
                .ok_or(BotStateError::UnknownGuild)?;
            let member = member.filter(|member| member.to_string().len() <= MEMBER_BYTES);
            let payload = |state: VoiceState| {
                state
                    .update(filter.user, *id, user.as_ref(), member.as_ref())
                    .to_string()
            };
            PresenceChange::Voice(Arc::new(VoicePayload::new(state, payload)))
        }
        BotState::Voice(_) => return Err(BotStateError::UnknownGuild),
    };
    if publisher.change(change) {
        Ok(())
    } else {
        Err(BotStateError::Full)
    }
}
