//! Opens a session: from the token that a client shows to its place in the log.

use std::{sync::Arc, time::Duration};

use shared::{
    client_type::ClientType,
    close::Close,
    discord::{Filter, Identify, Intents, Shard, Version, close},
    v1::PresentedSecret,
};
use tokio::time::{Instant, sleep};

use super::{bot_state::BotStateError, guild_query::guilds};
use crate::{
    applications::Application,
    auth::{Key, Refused},
    backplane::{JoinError, Unavailable},
    resume::{OpenedSession, PresenceChange, PresencePayload, Record, StartLimits},
    session::{CallContext, patience::Patience},
};

/// A session, with the key and the application that it belongs to.
pub struct Authenticated<T> {
    pub(super) session: T,
    pub(super) key: Arc<Key>,
    pub(super) application: Arc<Application>,
    /// The guilds that READY lists.
    pub(super) guilds: Vec<u64>,
}

/// Why a client gets no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscordIdentifyError {
    /// The connection is closed.
    Close(Close),
    /// Too many sessions have started: the client gets op 9.
    Throttled,
    /// There is no such session to resume: the client gets op 9.
    Gone,
}

/// Opens a session for a client that has identified.
///
/// # Errors
/// Says what the client is told instead.
pub(super) async fn open(
    identify: Identify,
    version: Version,
    cx: &CallContext,
) -> Result<Authenticated<OpenedSession>, DiscordIdentifyError> {
    let worker = &cx.worker;
    let (key, application) = authenticate(&identify.token, cx).await?;
    let allowed = Intents::from_bits(application.privileged_intents).unwrap_or(Intents::NONE);
    let denied = Intents::PRIVILEGED.without(allowed);
    let intents = identify.intents.unwrap_or_else(|| Intents::ALL.without(denied));
    if intents.meets(denied) {
        return Err(DiscordIdentifyError::Close(close::DISALLOWED_INTENTS));
    }
    let shard = identify.shard.unwrap_or(Shard::WHOLE);
    let limits = StartLimits {
        max_concurrency: application.max_concurrency,
        per_day: application.session_starts_per_day,
    };
    let patience = Patience::begin();
    let started = patience
        .retry(
            |_| true,
            async || worker.app.discord.start(key.application(), shard, limits).await,
        )
        .await;
    match started {
        Ok(true) => {}
        Ok(false) => return Err(DiscordIdentifyError::Throttled),
        Err(Unavailable) => return Err(unavailable().await),
    }
    let record = Record {
        application: Arc::clone(key.application()),
        key: Arc::clone(key.shared_id()),
        filter: Filter {
            intents,
            shard,
            user: application.bot_id,
            withholds_content: version.withholds_content(),
        },
        filter_version: Filter::VERSION,
        version,
        large_threshold: identify.large_threshold,
    };
    let opened = patience
        .retry(
            |error| *error == JoinError::Unavailable,
            async || worker.app.discord.open(record.clone()).await,
        )
        .await;
    let session = match opened {
        Ok(session) => session,
        Err(JoinError::Unavailable) => return Err(unavailable().await),
        Err(error) => {
            worker.app.client_errors.fault(cx.address, &error, Instant::now());
            return Err(DiscordIdentifyError::Close(close::UNKNOWN));
        }
    };
    // The session receives entries after its starting point, so the guilds must not be from before it.
    let known = guilds(key.application(), Some(session.since), cx, |guilds| {
        guilds.of_shard(shard)
    })
    .await;
    let Ok(guilds) = known else {
        session.ownership.end();
        return Err(unavailable().await);
    };
    if guilds.len() > application.guilds_per_session {
        session.ownership.end();
        return Err(DiscordIdentifyError::Close(close::SHARDING_REQUIRED));
    }
    if !worker
        .app
        .keyring
        .is_good(&key, ClientType::Bot, crate::clock::wall_clock())
    {
        // The key was revoked while the answer was pending, when the shard did not know the session yet.
        session.ownership.end();
        return Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED));
    }
    if let Some(presence) = identify.presence {
        let change = PresenceChange::Presence(
            Arc::new(PresencePayload::new(application.bot_id, presence)),
            guilds.clone(),
        );
        if !session.ownership.presence_publisher().change(change) {
            worker.app.metrics.dropped(BotStateError::Full.word());
        }
    }
    log::debug!(
        session:% = session.ownership.owner().id, client = "discord", key = key.id(), address:% = cx.address;
        "session identified"
    );
    Ok(Authenticated {
        session,
        key,
        application,
        guilds,
    })
}

/// Returns the key that a token unlocks, and its application.
///
/// # Errors
/// Says what the client is told instead.
pub(super) async fn authenticate(
    token: &PresentedSecret,
    cx: &CallContext,
) -> Result<(Arc<Key>, Arc<Application>), DiscordIdentifyError> {
    let worker = &cx.worker;
    let open = async || {
        worker
            .app
            .keyring
            .open_for(token.expose(), ClientType::Bot, crate::clock::wall_clock())
    };
    let key = match Patience::begin().retry(|error| *error == Refused::NotYet, open).await {
        Ok(key) => key,
        Err(Refused::NotYet) => return Err(unavailable().await),
        Err(Refused::Wrong) => return Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED)),
    };
    match worker.app.applications.get(key.application()) {
        Some(application) => Ok((key, application)),
        None => Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED)),
    }
}

/// Waits a random time first, because all clients will reconnect.
pub(super) async fn unavailable() -> DiscordIdentifyError {
    sleep(Duration::from_secs(1).mul_f64(crate::random::fraction())).await;
    DiscordIdentifyError::Close(close::AWAY)
}
