//! `GET /api/v1/tail`: the entries of the log of the key's application as they pass, for an administrator who watches.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{
    client_type::{ClientType, ClientTypes},
    guild::GuildId,
    session_id::SessionId,
    v1::is_position,
};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{ApiError, HttpState, log_part::LogPart, sessions::session_id};
use crate::{
    backplane::{Audience, Entry, Position, RequestTarget},
    config::Permission,
};

/// The most entries that are looked at for a response.
const MOST: usize = 1000;
/// The bytes of data after which a response ends.
const PAGE_BYTES: usize = 1 << 20;
/// The longest wait for an entry.
const LONGEST_WAIT_MS: u64 = 20_000;
/// How often the log is read while this node does not follow it, because it has no sessions of the application.
const LOOK: Duration = Duration::from_millis(200);

/// The query of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    after: Option<String>,
    t: Option<String>,
    guild: Option<String>,
    session: Option<String>,
    wait_ms: Option<u64>,
}

/// Which entries a request asks for.
struct TailFilter {
    name: Option<String>,
    guild: Option<GuildId>,
    session: Option<SessionId>,
}

#[derive(Serialize)]
struct TailBody {
    entries: Vec<TailEntry>,
    /// The `after` of the next request.
    next: String,
}

#[derive(Serialize)]
struct TailEntry {
    p: String,
    t: Arc<str>,
    at: u64,
    /// What decides who receives it: `types`, `guild`, `user`, `one`, `job`, `request` or `discord`.
    audience: &'static str,
    /// The types that may receive it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The sessions that it is addressed to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<SessionId>,
    /// The session that sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<SessionId>,
    d: Box<RawValue>,
}

/// Returns the entries after `after` that pass the filter. Without `after` it returns the end of the log as `next`.
/// If there are no entries, it waits for one up to `wait_ms`.
pub(super) async fn tail(
    request: HttpRequest,
    query: Result<web::Query<TailQuery>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let query = query.map(web::Query::into_inner).map_err(|_| malformed())?;
    let application = key.application();
    let wait = query.wait_ms.unwrap_or(0);
    if wait > LONGEST_WAIT_MS {
        return Err(malformed());
    }
    let filter = TailFilter::of(&query)?;
    let Some(after) = query.after else {
        let range = api.app.backplane.log_range(application).await;
        let next = range.map_err(|_| ApiError::LogAway)?.end.to_string();
        let entries = Vec::new();
        return Ok(HttpResponse::Ok().json(TailBody { entries, next }));
    };
    if !is_position(&after) {
        return Err(malformed());
    }
    // A position of the right shape that no log has is like one that this log does not have.
    let mut through: Position = after.parse().map_err(|_| ApiError::EventsLost)?;
    let deadline = Instant::now() + Duration::from_millis(wait);
    let mut entries = Vec::new();
    loop {
        let changed = api.app.registry.replay_changed();
        let is_end = read(&api, application, &filter, &mut through, &mut entries).await?;
        if !entries.is_empty() || Instant::now() >= deadline {
            break;
        }
        if is_end {
            let look = (Instant::now() + LOOK).min(deadline);
            // Something else may have changed; reading again is cheap.
            let _ = timeout_at(look, changed).await;
            if api.app.registry.replay_floor(application).is_none() {
                sleep_until(look).await;
            }
        }
    }
    Ok(HttpResponse::Ok().json(TailBody {
        entries,
        next: through.to_string(),
    }))
}

/// Reads entries after `through` and moves it on. Returns whether the log has no more now.
async fn read(
    api: &HttpState,
    application: &Arc<str>,
    filter: &TailFilter,
    through: &mut Position,
    entries: &mut Vec<TailEntry>,
) -> Result<bool, ApiError> {
    let part = LogPart::read(api, application, *through, MOST).await?;
    let mut bytes = 0;
    for entry in &part.entries {
        if bytes >= PAGE_BYTES {
            return Ok(false);
        }
        *through = entry.position;
        if filter.admits(entry) {
            bytes += entry.d.len();
            entries.push(TailEntry::of(entry)?);
        }
    }
    *through = part.through;
    Ok(part.is_end)
}

impl TailFilter {
    fn of(query: &TailQuery) -> Result<Self, ApiError> {
        let guild = query
            .guild
            .as_deref()
            .map(|digits| GuildId::from_digits(digits).ok_or_else(malformed));
        let session = query
            .session
            .as_deref()
            .map(|digits| session_id(digits).map_err(|_| malformed()));
        Ok(Self {
            name: query.t.clone(),
            guild: guild.transpose()?,
            session: session.transpose()?,
        })
    }

    fn admits(&self, entry: &Entry) -> bool {
        let is_of_guild = |wanted: GuildId| match &entry.audience {
            Audience::Reporters { guild, .. } => *guild == wanted,
            Audience::Request { target, .. } => *target == RequestTarget::Watcher(wanted),
            _ => entry.discord.as_ref().and_then(|header| header.guild) == Some(wanted.get()),
        };
        let concerns =
            |session: SessionId| entry.author == Some(session) || addressees(&entry.audience).contains(&session);
        self.name.as_ref().is_none_or(|name| **name == *entry.name)
            && self.guild.is_none_or(is_of_guild)
            && self.session.is_none_or(concerns)
    }
}

/// Returns the sessions that an audience names.
fn addressees(audience: &Audience) -> &[SessionId] {
    match audience {
        Audience::Reporters { sessions, .. } => sessions,
        Audience::One { session, .. }
        | Audience::Request {
            target: RequestTarget::Session(session),
            ..
        } => std::slice::from_ref(session),
        Audience::Job(job) => std::slice::from_ref(&job.session),
        Audience::Types(_) | Audience::User { .. } | Audience::Request { .. } => &[],
    }
}

impl TailEntry {
    fn of(entry: &Entry) -> Result<Self, ApiError> {
        let (audience, types, guild, user) = match &entry.audience {
            Audience::Types(types) if *types == ClientTypes::NONE => ("discord", *types, None, None),
            Audience::Types(types) => ("types", *types, None, None),
            Audience::Reporters { guild, of, .. } => ("guild", *of, Some(*guild), None),
            Audience::User { user, of } => ("user", *of, None, Some(user)),
            Audience::One { of, .. } => ("one", *of, None, None),
            Audience::Job(_) => ("job", ClientTypes::NONE, None, None),
            Audience::Request { target, of, .. } => match target {
                RequestTarget::Watcher(guild) => ("request", *of, Some(*guild), None),
                RequestTarget::User(user) => ("request", *of, None, Some(user)),
                RequestTarget::Session(_) => ("request", *of, None, None),
            },
        };
        Ok(Self {
            p: entry.position.to_string(),
            t: Arc::clone(&entry.name),
            at: entry.at,
            audience,
            types: names(types),
            guild: guild.map(|guild| guild.to_string()),
            user: user.map(ToString::to_string),
            sessions: addressees(&entry.audience).to_vec(),
            from: entry.author,
            d: RawValue::from_string(entry.d.to_string()).map_err(|_| ApiError::Internal)?,
        })
    }
}

/// Returns the names of the types in a set.
fn names(types: ClientTypes) -> Vec<&'static str> {
    let all = ClientType::ALL.into_iter();
    all.filter(|kind| types.contains(*kind))
        .map(ClientType::as_str)
        .collect()
}

fn malformed() -> ApiError {
    ApiError::Malformed(format!(
        "expected ?after=POSITION&t=NAME&guild=ID&session=ID&wait_ms=N, all optional, and a wait of at most \
         {LONGEST_WAIT_MS}"
    ))
}
