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
    backplane::{Away, JoinError, Owner, Position},
    guilds::{Guilds, Search, Viewer},
    replay::{From, Reading, Unread},
    resume::{
        Appearing, Guise, Keeping, Opened, ReadError, Record, ResumeError, Resumed, Resuming, StartLimits, Voice, What,
        Wish,
    },
    session::Sources,
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
pub enum Question {
    /// Whether there is a new session for this client, who speaks this version.
    Open(Box<Identify>, Version),
    /// Whether a session goes on.
    Resume(Resume),
    /// What the log of this application has from there on. It does not end before the last position, if there is one.
    Read(Arc<str>, From, Option<Position>),
    /// What it has there that the node has not come to yet.
    ReadBeyond(Arc<str>, Position),
    /// Whether this is kept.
    Keep(Keeping),
    /// What the answers to a request for members are made from.
    Plan(Plan),
    /// The dispatches that these are.
    Make(Make),
    /// Whether a session, which has identified with this, is seen like this from now on.
    Show(Appearing, Filter, Show),
}

/// How a client wants to be seen.
#[derive(Debug)]
pub enum Show {
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
    pub privates: Vec<What>,
}

/// The name and the data of a dispatch.
pub(super) type Dispatch = (Cow<'static, str>, String);

/// An answer.
pub enum Answer {
    /// To [`Question::Open`].
    Opened(Result<Box<Known<Opened>>, Unwelcome>),
    /// To [`Question::Resume`].
    Resumed(Result<Box<Known<Resumed>>, Unwelcome>),
    /// To [`Question::Read`] and [`Question::ReadBeyond`].
    Read(Result<Reading, ReadError>),
    /// To [`Question::Keep`]: what was to be kept, and whether the session is still its owner's.
    Kept(Keeping, Result<bool, Away>),
    /// To [`Question::Plan`].
    Planned(Result<Vec<What>, Away>),
    /// To [`Question::Make`]: the first of what was to be made, and at least one.
    Made(Result<Vec<Dispatch>, Away>),
    /// To [`Question::Show`]: why it is not, if so.
    Shown(Result<(), Unseen>),
}

/// Why a session is not seen as it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// It does not have the guild, or nobody knows that one.
    UnknownGuild,
    /// Nobody knows the guilds now.
    Away,
    /// Too much of that waits.
    Full,
}

impl Unseen {
    /// The word in the metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::UnknownGuild => "unknown_guild",
            Self::Away => "guilds_away",
            Self::Full => "appearances_full",
        }
    }
}

/// A session, and whose it is.
pub struct Known<T> {
    pub(super) session: T,
    pub(super) key: Arc<Key>,
    pub(super) application: Arc<Application>,
    /// The guilds that a new session is told of.
    pub(super) guilds: Vec<u64>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwelcome {
    /// The connection ends.
    Close(Close),
    /// Not now: op 9.
    Throttled,
    /// There is none to go on with: op 9.
    Gone,
}

/// Finds an answer.
pub(super) async fn answer(question: Question, sources: Sources) -> Answer {
    match question {
        Question::Open(identify, version) => Answer::Opened(open(*identify, version, &sources).await.map(Box::new)),
        Question::Resume(resume) => Answer::Resumed(go_on(&resume, &sources).await.map(Box::new)),
        Question::Read(application, from, end) => Answer::Read(read(&application, from, end, &sources).await),
        Question::ReadBeyond(application, after) => Answer::Read(read_beyond(&application, after, &sources).await),
        Question::Keep(keeping) => {
            let kept = keep(&keeping).await;
            Answer::Kept(keeping, kept)
        }
        Question::Plan(plan) => Answer::Planned(making::plan(plan, &sources).await),
        Question::Make(make) => Answer::Made(making::make(make, &sources).await),
        Question::Show(appearing, filter, show) => Answer::Shown(self::show(&appearing, &filter, show, &sources).await),
    }
}

/// Has a bot seen in the guilds of its session.
async fn show(appearing: &Appearing, filter: &Filter, show: Show, sources: &Sources) -> Result<(), Unseen> {
    let Owner { application, id, .. } = appearing.owner();
    let wish = match show {
        Show::Presence(presence) => {
            let seen = guilds(application, None, sources, |guilds| guilds.of_shard(filter.shard)).await;
            Wish::Presence(
                Arc::new(Guise::new(filter.user, presence)),
                seen.map_err(|_| Unseen::Away)?,
            )
        }
        Show::Voice(state) if filter.shard.has(Some(state.guild)) => {
            // Copied while it is looked at: whoever holds a guild makes the next event copy all of it.
            let speaker = |guilds: &Guilds| {
                let (member, known) = guilds.speaker(state.guild, filter.user)?;
                Some((member.cloned(), known.cloned()))
            };
            let seen = guilds(application, None, sources, speaker).await;
            let (member, known) = seen.map_err(|_| Unseen::Away)?.ok_or(Unseen::UnknownGuild)?;
            let member = member.filter(|member| member.to_string().len() <= MEMBER_BYTES);
            let told = |state: VoiceState| {
                state
                    .update(filter.user, *id, known.as_ref(), member.as_ref())
                    .to_string()
            };
            Wish::Voice(Arc::new(Voice::new(state, told)))
        }
        Show::Voice(_) => return Err(Unseen::UnknownGuild),
    };
    if appearing.wish(wish) {
        Ok(())
    } else {
        Err(Unseen::Full)
    }
}

/// What is to be seen of guilds when the node has come as far as `since`, and knows them.
async fn guilds<T>(
    application: &str,
    since: Option<Position>,
    sources: &Sources,
    look: impl Fn(&Guilds) -> T,
) -> Result<T, Away> {
    let until = Instant::now() + PATIENCE;
    loop {
        match sources.services.registry.guilds(application, since, &look) {
            Some(seen) => return Ok(seen),
            None if Instant::now() < until => sleep(GLANCE).await,
            None => return Err(Away),
        }
    }
}

/// Reads what the node remembers, or else what the log has. Only who has come to the end of the former can receive.
async fn read(
    application: &Arc<str>,
    mut from: From,
    end: Option<Position>,
    sources: &Sources,
) -> Result<Reading, ReadError> {
    let services = &sources.services;
    let until = Instant::now() + PATIENCE;
    let mut cut = None;
    loop {
        match services.registry.read(application, from, PAGE) {
            Ok(reading) => {
                let reading = reading.up_to(end).cut_at(cut);
                if reading.end.is_some() || reading.entries().next().is_some() {
                    return Ok(reading);
                }
                from = reading.next;
            }
            Err(Unread::Ahead) => {}
            Err(Unread::Severed) => match services.discord.read(application, from.position()).await {
                Ok(page) => {
                    let page = page.of_bytes(PAGE_BYTES);
                    cut = [cut, page.cut].into_iter().flatten().min();
                    if !page.entries.is_empty() {
                        return Ok(services.registry.reading(page).cut_at(cut));
                    }
                    from = From::Position(page.through);
                }
                Err(ReadError::Severed) => return Err(ReadError::Severed),
                Err(ReadError::Away) => {}
            },
        }
        if Instant::now() >= until {
            return Err(ReadError::Away);
        }
        sleep(GLANCE).await;
    }
}

/// Reads the log itself, wherever the node is. Who asks has been told of more than the node knows, so that there being
/// nothing means that it is gone.
async fn read_beyond(application: &Arc<str>, after: Position, sources: &Sources) -> Result<Reading, ReadError> {
    let services = &sources.services;
    let until = Instant::now() + PATIENCE;
    loop {
        match services.discord.read(application, after).await {
            Ok(page) if page.entries.is_empty() => return Err(ReadError::Severed),
            Ok(page) => {
                let page = page.of_bytes(PAGE_BYTES);
                let cut = page.cut;
                return Ok(services.registry.reading(page).cut_at(cut));
            }
            Err(ReadError::Away) if Instant::now() < until => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

async fn keep(keeping: &Keeping) -> Result<bool, Away> {
    let until = Instant::now() + PATIENCE;
    loop {
        match keeping.attempt().await {
            Ok(is_theirs) => return Ok(is_theirs),
            Err(Away) if Instant::now() < until => sleep(PAUSE).await,
            Err(Away) => return Err(Away),
        }
    }
}

async fn open(identify: Identify, version: Version, sources: &Sources) -> Result<Known<Opened>, Unwelcome> {
    let services = &sources.services;
    let (key, application) = known(&identify.token, sources).await?;
    let allowed = Intents::from_bits(application.privileged_intents).unwrap_or(Intents::NONE);
    let denied = Intents::PRIVILEGED.without(allowed);
    let intents = identify.intents.unwrap_or_else(|| Intents::ALL.without(denied));
    if intents.meets(denied) {
        return Err(Unwelcome::Close(close::DISALLOWED_INTENTS));
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
            Ok(false) => return Err(Unwelcome::Throttled),
            Err(Away) if Instant::now() < until => sleep(PAUSE).await,
            Err(Away) => return Err(away().await),
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
            Err(JoinError::Away) if Instant::now() < until => sleep(PAUSE).await,
            Err(JoinError::Away) => return Err(away().await),
            Err(error) => {
                services.problems.fault(sources.address, &error, Instant::now());
                return Err(Unwelcome::Close(close::UNKNOWN));
            }
        }
    };
    // What comes to the session is behind the place where it began, so the guilds must not be those of an earlier one.
    let seen = guilds(key.application(), Some(session.since), sources, |guilds| {
        guilds.of_shard(shard)
    })
    .await;
    let Ok(guilds) = seen else {
        session.attachment.end();
        return Err(away().await);
    };
    if guilds.len() > application.guilds_per_session {
        session.attachment.end();
        return Err(Unwelcome::Close(close::SHARDING_REQUIRED));
    }
    if !services.keyring.is_good(&key, ClientType::Bot, SystemTime::now()) {
        // Revoked while the answer was under way: the shard did not know the session when it told the others.
        session.attachment.end();
        return Err(Unwelcome::Close(close::AUTHENTICATION_FAILED));
    }
    if let Some(presence) = identify.presence {
        let wish = Wish::Presence(Arc::new(Guise::new(application.bot_id, presence)), guilds.clone());
        if !session.attachment.appearing().wish(wish) {
            services.metrics.dropped(Unseen::Full.word());
        }
    }
    log::debug!(
        session:% = session.attachment.owner().id, client = "discord", key = key.id(), address:% = sources.address;
        "session identified"
    );
    Ok(Known {
        session,
        key,
        application,
        guilds,
    })
}

async fn go_on(resume: &Resume, sources: &Sources) -> Result<Known<Resumed>, Unwelcome> {
    let services = &sources.services;
    let (key, application) = known(&resume.token, sources).await?;
    let resuming = Resuming {
        application: Arc::clone(key.application()),
        key: Arc::clone(key.shared_id()),
        id: SessionId::from_raw(resume.session_id.parse().map_err(|_| Unwelcome::Gone)?),
        seq: resume.seq,
    };
    let id = resuming.id;
    let until = Instant::now() + PATIENCE;
    let session = loop {
        match services.discord.resume(resuming.clone()).await {
            Err(ResumeError::Away) if Instant::now() < until => sleep(PAUSE).await,
            answer => break answer,
        }
    };
    match session {
        Ok(session) => {
            log::debug!(session:% = id, key = key.id(), address:% = sources.address; "session resumed");
            Ok(Known {
                session,
                key,
                application,
                guilds: Vec::new(),
            })
        }
        Err(ResumeError::Away) => Err(away().await),
        Err(_) => {
            log::debug!(session:% = id, seq = resume.seq, address:% = sources.address; "session refused to resume");
            Err(Unwelcome::Gone)
        }
    }
}

/// The key that a token is, and its application.
async fn known(token: &PresentedSecret, sources: &Sources) -> Result<(Arc<Key>, Arc<Application>), Unwelcome> {
    let services = &sources.services;
    let until = Instant::now() + PATIENCE;
    let key = loop {
        match services
            .keyring
            .open_for(token.expose(), ClientType::Bot, SystemTime::now())
        {
            Ok(key) => break key,
            Err(Refused::NotYet) if Instant::now() < until => sleep(PAUSE).await,
            Err(Refused::NotYet) => return Err(away().await),
            Err(Refused::Wrong) => return Err(Unwelcome::Close(close::AUTHENTICATION_FAILED)),
        }
    };
    match services.applications.get(key.application()) {
        Some(application) => Ok((key, application)),
        None => Err(Unwelcome::Close(close::AUTHENTICATION_FAILED)),
    }
}

/// Not everybody at the same time: they will all come back.
async fn away() -> Unwelcome {
    sleep(Duration::from_secs(1).mul_f64(fastrand::f64())).await;
    Unwelcome::Close(close::AWAY)
}
