//! What a Discord session has others find out.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use shared::{
    client_type::ClientType,
    close::Close,
    discord::{Filter, Identify, Intents, Presence, Resume, Shard, Version, VoiceState, close},
    session_id::SessionId,
    v1::PresentedSecret,
};
use tokio::time::{Instant, sleep};

use super::making;
use crate::{
    applications::Application,
    auth::{Key, Refused},
    backplane::{JoinError, Owner, Position, Unavailable},
    guilds::{Guilds, Search, Viewer},
    replay::{ReadFrom, ReplayError, ReplayPage},
    resume::{
        OpenedSession, PresenceChange, PresencePayload, PresencePublisher, PrivateBody, PrivateWrite, ReadError,
        Record, ResumeError, ResumeParams, ResumedSession, StartLimits, VoicePayload,
    },
    session::CallContext,
};

/// How long a client waits for a cluster that is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked again meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a session that is ahead of its node looks whether the node has come that far.
pub(super) const GLANCE: Duration = Duration::from_millis(10);
/// How many entries a session reads at once.
const PAGE: usize = 64;
/// And how many bytes of data of them.
const PAGE_BYTES: usize = 32 * 1024;
/// The largest member that a voice state comes with, in bytes: it is kept with the session.
const MEMBER_BYTES: usize = 4096;

/// A question.
#[derive(Debug)]
pub enum Call {
    /// Whether there is a new session for this client, who speaks this version.
    Open(Box<Identify>, Version),
    /// Whether a session goes on.
    Resume(Resume),
    /// What the log of this application has from there on. It does not end before the last position, if there is one.
    Read(Arc<str>, ReadFrom, Option<Position>),
    /// What it has there that the node has not come to yet.
    ReadBeyond(Arc<str>, Position),
    /// Whether this is kept.
    Keep(PrivateWrite),
    /// What the answers to a request for members are made from.
    Plan(Plan),
    /// The dispatches that these are.
    Make(Make),
    /// Whether a session, which has identified with this, is seen like this from now on.
    BotState(PresencePublisher, Filter, BotState),
}

/// How a client wants to be seen.
#[derive(Debug)]
pub enum BotState {
    /// In all guilds that it has.
    Presence(Presence),
    /// In one.
    Voice(VoiceState),
}

/// A request for members of one guild.
#[derive(Debug)]
pub struct Plan {
    /// The application of the session.
    pub application: Arc<str>,
    /// The search.
    pub search: Search,
    /// When the request came.
    pub asked: Instant,
}

/// Dispatches for one session alone, which have to be made.
#[derive(Debug)]
pub struct Make {
    /// The application of the session.
    pub application: Arc<str>,
    /// How the session sees guilds.
    pub viewer: Viewer,
    /// What they say, in order. As many are made as are sent at once.
    pub privates: Vec<PrivateBody>,
}

/// The name and the data of a dispatch.
pub(super) type Dispatch = (Cow<'static, str>, String);

/// An answer.
pub enum CallResult {
    /// To [`Call::Open`].
    OpenedSession(Result<Box<Authenticated<OpenedSession>>, DiscordIdentifyError>),
    /// To [`Call::Resume`].
    ResumedSession(Result<Box<Authenticated<ResumedSession>>, DiscordIdentifyError>),
    /// To [`Call::Read`] and [`Call::ReadBeyond`].
    Read(Result<ReplayPage, ReadError>),
    /// To [`Call::Keep`]: what was to be kept, and whether the session is still its owner's.
    Kept(PrivateWrite, Result<bool, Unavailable>),
    /// To [`Call::Plan`].
    Planned(Result<Vec<PrivateBody>, Unavailable>),
    /// To [`Call::Make`]: the first of what was to be made, and at least one.
    Made(Result<Vec<Dispatch>, Unavailable>),
    /// To [`Call::BotState`]: why it is not, if so.
    StateSet(Result<(), Unseen>),
}

/// Why a session is not seen as it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// It does not have the guild, or nobody knows that one.
    UnknownGuild,
    /// Nobody knows the guilds now.
    Unavailable,
    /// Too much of that waits.
    Full,
}

impl Unseen {
    /// The word in the metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::UnknownGuild => "unknown_guild",
            Self::Unavailable => "guilds_away",
            Self::Full => "appearances_full",
        }
    }
}

/// A session, and whose it is.
pub struct Authenticated<T> {
    pub(super) session: T,
    pub(super) key: Arc<Key>,
    pub(super) application: Arc<Application>,
    /// The guilds that a new session is told of.
    pub(super) guilds: Vec<u64>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscordIdentifyError {
    /// The connection ends.
    Close(Close),
    /// Not now: op 9.
    Throttled,
    /// There is none to go on with: op 9.
    Gone,
}

/// Finds an answer.
pub(super) async fn answer(call: Call, cx: CallContext) -> CallResult {
    match call {
        Call::Open(identify, version) => CallResult::OpenedSession(open(*identify, version, &cx).await.map(Box::new)),
        Call::Resume(resume) => CallResult::ResumedSession(resume_session(&resume, &cx).await.map(Box::new)),
        Call::Read(application, from, end) => CallResult::Read(read(&application, from, end, &cx).await),
        Call::ReadBeyond(application, after) => CallResult::Read(read_beyond(&application, after, &cx).await),
        Call::Keep(private_write) => {
            let kept = keep(&private_write).await;
            CallResult::Kept(private_write, kept)
        }
        Call::Plan(plan) => CallResult::Planned(making::plan(plan, &cx).await),
        Call::Make(make) => CallResult::Made(making::make(make, &cx).await),
        Call::BotState(presence_publisher, filter, publish_state) => {
            CallResult::StateSet(self::publish_state(&presence_publisher, &filter, publish_state, &cx).await)
        }
    }
}

/// Has a bot seen in the guilds of its session.
async fn publish_state(
    presence_publisher: &PresencePublisher,
    filter: &Filter,
    publish_state: BotState,
    cx: &CallContext,
) -> Result<(), Unseen> {
    let Owner { application, id, .. } = presence_publisher.owner();
    let change = match publish_state {
        BotState::Presence(presence) => {
            let seen = guilds(application, None, cx, |guilds| guilds.of_shard(filter.shard)).await;
            PresenceChange::Presence(
                Arc::new(PresencePayload::new(filter.user, presence)),
                seen.map_err(|_| Unseen::Unavailable)?,
            )
        }
        BotState::Voice(state) if filter.shard.has(Some(state.guild)) => {
            // Copied while it is looked at: whoever holds a guild makes the next event copy all of it.
            let speaker = |guilds: &Guilds| {
                let (member, user) = guilds.speaker(state.guild, filter.user)?;
                Some((member.cloned(), user.cloned()))
            };
            let seen = guilds(application, None, cx, speaker).await;
            let (member, user) = seen.map_err(|_| Unseen::Unavailable)?.ok_or(Unseen::UnknownGuild)?;
            let member = member.filter(|member| member.to_string().len() <= MEMBER_BYTES);
            let published = |state: VoiceState| {
                state
                    .update(filter.user, *id, user.as_ref(), member.as_ref())
                    .to_string()
            };
            PresenceChange::Voice(Arc::new(VoicePayload::new(state, published)))
        }
        BotState::Voice(_) => return Err(Unseen::UnknownGuild),
    };
    if presence_publisher.change(change) {
        Ok(())
    } else {
        Err(Unseen::Full)
    }
}

/// What is to be seen of guilds when the node has come as far as `since`, and knows them.
async fn guilds<T>(
    application: &str,
    since: Option<Position>,
    cx: &CallContext,
    look: impl Fn(&Guilds) -> T,
) -> Result<T, Unavailable> {
    let until = Instant::now() + PATIENCE;
    loop {
        match cx.services.registry.guilds(application, since, &look) {
            Some(seen) => return Ok(seen),
            None if Instant::now() < until => sleep(GLANCE).await,
            None => return Err(Unavailable),
        }
    }
}

/// Reads what the node remembers, or else what the log has. Only who has come to the end of the former can receive.
async fn read(
    application: &Arc<str>,
    mut from: ReadFrom,
    end: Option<Position>,
    cx: &CallContext,
) -> Result<ReplayPage, ReadError> {
    let services = &cx.services;
    let until = Instant::now() + PATIENCE;
    let mut cut = None;
    loop {
        match services.registry.read(application, from, PAGE) {
            Ok(page) => {
                let page = page.up_to(end).cut_at(cut);
                if page.end.is_some() || page.entries().next().is_some() {
                    return Ok(page);
                }
                from = page.next;
            }
            Err(ReplayError::Ahead) => {}
            Err(ReplayError::Severed) => match services.discord.read(application, from.position()).await {
                Ok(page) => {
                    let page = page.of_bytes(PAGE_BYTES);
                    cut = [cut, page.cut].into_iter().flatten().min();
                    if !page.entries.is_empty() {
                        return Ok(services.registry.page(page).cut_at(cut));
                    }
                    from = ReadFrom::Position(page.through);
                }
                Err(ReadError::Severed) => return Err(ReadError::Severed),
                Err(ReadError::Unavailable) => {}
            },
        }
        if Instant::now() >= until {
            return Err(ReadError::Unavailable);
        }
        sleep(GLANCE).await;
    }
}

/// Reads the log itself, wherever the node is. Who asks has been told of more than the node knows, so that there being
/// nothing means that it is gone.
async fn read_beyond(application: &Arc<str>, after: Position, cx: &CallContext) -> Result<ReplayPage, ReadError> {
    let services = &cx.services;
    let until = Instant::now() + PATIENCE;
    loop {
        match services.discord.read(application, after).await {
            Ok(page) if page.entries.is_empty() => return Err(ReadError::Severed),
            Ok(page) => {
                let page = page.of_bytes(PAGE_BYTES);
                let cut = page.cut;
                return Ok(services.registry.page(page).cut_at(cut));
            }
            Err(ReadError::Unavailable) if Instant::now() < until => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

async fn keep(private_write: &PrivateWrite) -> Result<bool, Unavailable> {
    let until = Instant::now() + PATIENCE;
    loop {
        match private_write.attempt().await {
            Ok(is_theirs) => return Ok(is_theirs),
            Err(Unavailable) if Instant::now() < until => sleep(PAUSE).await,
            Err(Unavailable) => return Err(Unavailable),
        }
    }
}

async fn open(
    identify: Identify,
    version: Version,
    cx: &CallContext,
) -> Result<Authenticated<OpenedSession>, DiscordIdentifyError> {
    let services = &cx.services;
    let (key, application) = authenticated(&identify.token, cx).await?;
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
    let until = Instant::now() + PATIENCE;
    loop {
        match services.discord.start(key.application(), shard, limits).await {
            Ok(true) => break,
            Ok(false) => return Err(DiscordIdentifyError::Throttled),
            Err(Unavailable) if Instant::now() < until => sleep(PAUSE).await,
            Err(Unavailable) => return Err(away().await),
        }
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
    let session = loop {
        match services.discord.open(record.clone()).await {
            Ok(session) => break session,
            Err(JoinError::Unavailable) if Instant::now() < until => sleep(PAUSE).await,
            Err(JoinError::Unavailable) => return Err(away().await),
            Err(error) => {
                services.problems.fault(cx.address, &error, Instant::now());
                return Err(DiscordIdentifyError::Close(close::UNKNOWN));
            }
        }
    };
    // What comes to the session is behind the place where it began, so the guilds must not be those of an earlier one.
    let seen = guilds(key.application(), Some(session.since), cx, |guilds| {
        guilds.of_shard(shard)
    })
    .await;
    let Ok(guilds) = seen else {
        session.ownership.end();
        return Err(away().await);
    };
    if guilds.len() > application.guilds_per_session {
        session.ownership.end();
        return Err(DiscordIdentifyError::Close(close::SHARDING_REQUIRED));
    }
    if !services.keyring.is_good(&key, ClientType::Bot, SystemTime::now()) {
        // Revoked while the answer was under way: the shard did not know the session when it told the others.
        session.ownership.end();
        return Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED));
    }
    if let Some(presence) = identify.presence {
        let change = PresenceChange::Presence(
            Arc::new(PresencePayload::new(application.bot_id, presence)),
            guilds.clone(),
        );
        if !session.ownership.presence_publisher().change(change) {
            services.metrics.dropped(Unseen::Full.word());
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

async fn resume_session(
    resume: &Resume,
    cx: &CallContext,
) -> Result<Authenticated<ResumedSession>, DiscordIdentifyError> {
    let services = &cx.services;
    let (key, application) = authenticated(&resume.token, cx).await?;
    let params = ResumeParams {
        application: Arc::clone(key.application()),
        key: Arc::clone(key.shared_id()),
        id: SessionId::from_raw(resume.session_id.parse().map_err(|_| DiscordIdentifyError::Gone)?),
        seq: resume.seq,
    };
    let id = params.id;
    let until = Instant::now() + PATIENCE;
    let session = loop {
        match services.discord.resume(params.clone()).await {
            Err(ResumeError::Unavailable) if Instant::now() < until => sleep(PAUSE).await,
            answer => break answer,
        }
    };
    match session {
        Ok(session) => {
            log::debug!(session:% = id, key = key.id(), address:% = cx.address; "session resumed");
            Ok(Authenticated {
                session,
                key,
                application,
                guilds: Vec::new(),
            })
        }
        Err(ResumeError::Unavailable) => Err(away().await),
        Err(_) => {
            log::debug!(session:% = id, seq = resume.seq, address:% = cx.address; "session refused to resume");
            Err(DiscordIdentifyError::Gone)
        }
    }
}

/// The key that a token is, and its application.
async fn authenticated(
    token: &PresentedSecret,
    cx: &CallContext,
) -> Result<(Arc<Key>, Arc<Application>), DiscordIdentifyError> {
    let services = &cx.services;
    let until = Instant::now() + PATIENCE;
    let key = loop {
        match services
            .keyring
            .open_for(token.expose(), ClientType::Bot, SystemTime::now())
        {
            Ok(key) => break key,
            Err(Refused::NotYet) if Instant::now() < until => sleep(PAUSE).await,
            Err(Refused::NotYet) => return Err(away().await),
            Err(Refused::Wrong) => return Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED)),
        }
    };
    match services.applications.get(key.application()) {
        Some(application) => Ok((key, application)),
        None => Err(DiscordIdentifyError::Close(close::AUTHENTICATION_FAILED)),
    }
}

/// Not everybody at the same time: they will all come back.
async fn away() -> DiscordIdentifyError {
    sleep(Duration::from_secs(1).mul_f64(fastrand::f64())).await;
    DiscordIdentifyError::Close(close::AWAY)
}
