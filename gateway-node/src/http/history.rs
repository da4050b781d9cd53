//! `GET /api/v1/events`: reads the events of the key's application in the log.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{guild::GuildId, routing::EventTable, v1::is_position};

use super::{
    ApiError, HttpState,
    log_part::{self, LogPart},
};
use crate::{
    backplane::{Audience, Entry},
    config::Permission,
};

/// How many entries are looked at if the request does not say.
const USUAL: usize = 100;
/// The most entries that a request may ask for.
const MOST: usize = 1000;
/// The bytes of data after which a page ends.
const PAGE_BYTES: usize = 1 << 20;

/// The query of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    after: Option<String>,
    limit: Option<usize>,
    t: Option<String>,
    guild: Option<String>,
}

/// Which events a request asks for.
struct HistoryFilter<'a> {
    name: Option<String>,
    guild: Option<GuildId>,
    table: &'a EventTable,
}

#[derive(Serialize)]
struct HistoryBody {
    events: Vec<HistoryEvent>,
    /// The `after` of the next page.
    next: String,
    /// Whether the log has more entries after this page.
    more: bool,
}

#[derive(Serialize)]
struct HistoryEvent {
    p: String,
    t: Arc<str>,
    /// The user who sent it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    d: Box<RawValue>,
    at: u64,
}

/// Returns up to `limit` entries after `after` that are events of the table.
pub(super) async fn history(
    request: HttpRequest,
    query: Result<web::Query<HistoryQuery>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let query = query.map(web::Query::into_inner).map_err(|_| malformed())?;
    let limit = query.limit.unwrap_or(USUAL);
    let guild = match &query.guild {
        Some(digits) => Some(GuildId::from_digits(digits).ok_or_else(malformed)?),
        None => None,
    };
    if !(1..=MOST).contains(&limit) || query.after.as_ref().is_some_and(|after| !is_position(after)) {
        return Err(malformed());
    }
    let table = api.app.events.current();
    if query.t.as_ref().is_some_and(|name| !table.has(name)) {
        return Err(ApiError::Malformed(
            "`t` is not an event of the configuration".to_owned(),
        ));
    }
    let filter = HistoryFilter {
        name: query.t,
        guild,
        table: &table,
    };
    let start = log_part::start(&api, key.application(), query.after.as_deref()).await?;
    let mut body = HistoryBody {
        events: Vec::new(),
        next: String::new(),
        more: true,
    };
    let (mut through, mut looked, mut bytes) = (start, 0, 0);
    while body.more && looked < limit && bytes < PAGE_BYTES {
        let part = LogPart::read(&api, key.application(), through, limit - looked).await?;
        let mut entries = part.entries.into_iter();
        while looked < limit && bytes < PAGE_BYTES {
            let Some(entry) = entries.next() else { break };
            through = entry.position;
            looked += 1;
            if filter.admits(&entry) {
                bytes += entry.d.len();
                body.events.push(event(&entry)?);
            }
        }
        body.more = !part.is_end || entries.len() > 0;
        if entries.len() == 0 {
            through = part.through;
        }
    }
    body.next = through.to_string();
    Ok(HttpResponse::Ok().json(body))
}

impl HistoryFilter<'_> {
    fn admits(&self, entry: &Entry) -> bool {
        let is_of_guild = |guild| matches!(entry.audience, Audience::Reporters { guild: of, .. } if of == guild);
        // Another append of an event is no event of its own, nor is the delivery of a job.
        entry.first.is_none()
            && !matches!(entry.audience, Audience::Job(_))
            && self.table.has(&entry.name)
            && self.name.as_ref().is_none_or(|name| **name == *entry.name)
            && self.guild.is_none_or(is_of_guild)
    }
}

fn event(entry: &Entry) -> Result<HistoryEvent, ApiError> {
    Ok(HistoryEvent {
        p: entry.position.to_string(),
        t: Arc::clone(&entry.name),
        u: entry.user.as_ref().map(|user| user.as_str().to_owned()),
        d: RawValue::from_string(entry.d.to_string()).map_err(|_| ApiError::Internal)?,
        at: entry.at,
    })
}

fn malformed() -> ApiError {
    ApiError::Malformed(format!(
        "expected ?after=POSITION&limit=N&t=NAME&guild=ID, all optional: 1 to {MOST} entries"
    ))
}
