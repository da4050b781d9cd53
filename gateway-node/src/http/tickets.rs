//! `/api/v1/tickets`: issues the tickets with which web pages connect, and revokes those of a user.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use shared::{
    client_type::ClientType,
    guild::GuildId,
    key::{SecretHash, generate},
    problem::Problem,
    routing::EventTable,
    ticket::{PresentedTicket, TicketRights},
    user::UserId,
};

use super::{ApiError, HttpState, object::Object};
use crate::{
    auth::Key,
    backplane::{IssueError, NewTicket, TicketRecord},
    config::{Permission, TicketSettings},
};

/// The bounds of a ticket.
#[derive(Debug, Clone)]
pub struct TicketBounds {
    settings: TicketSettings,
    /// The most guilds of a ticket.
    guilds: usize,
}

impl TicketBounds {
    /// Creates the bounds of these settings. A ticket may have `guilds` guilds.
    pub const fn new(settings: TicketSettings, guilds: usize) -> Self {
        Self { settings, guilds }
    }
}

/// The body of a request for a ticket. Each field is checked on its own, so that every problem is reported.
#[derive(Deserialize)]
struct TicketBody<'a> {
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    guilds: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    session_ms: Option<&'a RawValue>,
}

/// The query of a revocation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeQuery {
    user: String,
}

/// Issues a ticket. The response has the ticket and when it expires.
pub(super) async fn issue(
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Tickets)?;
    let body = api.body(&request, payload, &key).await?;
    let malformed = |error: serde_json::Error| ApiError::Malformed(format!("the body is no ticket: {error}"));
    let body = if body.trim_ascii().is_empty() {
        &b"{}"[..]
    } else {
        &*body
    };
    let Object(body): Object<TicketBody<'_>> = serde_json::from_slice(body).map_err(malformed)?;
    let (rights, ttl, session_ms) = {
        let table = api.app.events.current();
        body.read(&api.ticket_bounds, &table)?
    };
    let mut random = [0; 48];
    getrandom::fill(&mut random).map_err(|error| {
        log::error!(cause:% = error; "no random numbers for a ticket");
        ApiError::Internal
    })?;
    let (id, secret) = random.split_at(16);
    let (id, secret) = (
        hex::encode(id),
        generate(secret.try_into().map_err(|_| ApiError::Internal)?),
    );
    let expires_at = crate::clock::wall_clock() + ttl;
    let ticket = NewTicket {
        id: id.clone(),
        hash: SecretHash::of(&secret),
        record: TicketRecord {
            application: Arc::clone(key.application()),
            issuer: Arc::clone(key.shared_id()),
            fingerprint: key.fingerprint(),
            rights,
            session_ms,
        },
        ttl,
    };
    api.app.tickets.issue(ticket).await.map_err(|error| match error {
        IssueError::Full { retry_after } => ApiError::TooManyTickets(retry_after),
        IssueError::Unavailable => ApiError::TicketsAway,
    })?;
    api.app.metrics.tickets_issued.inc();
    let ticket = PresentedTicket {
        id: &id,
        secret: &secret,
    };
    Ok(HttpResponse::Created()
        .insert_header(("cache-control", "no-store"))
        .json(serde_json::json!({ "ticket": ticket.text(), "expires_at": rfc3339(expires_at) })))
}

/// Formats a point in time, to the second.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

impl TicketBody<'_> {
    /// Returns the rights, the time in which the ticket can be used, and the milliseconds of its session.
    ///
    /// # Errors
    /// All problems, one for each value that is wrong.
    fn read(&self, bounds: &TicketBounds, table: &EventTable) -> Result<(TicketRights, Duration, u64), ApiError> {
        let mut problems = Vec::new();
        let settings = &bounds.settings;
        let user = self.user.and_then(|user| {
            let read = UserId::from_json(&value_of(user));
            if read.is_none() {
                problems.push(Problem::with(
                    "User must be a string of 1 to 64 printable ASCII characters or an integer.",
                    user,
                ));
            }
            read
        });
        let guilds = self
            .guilds
            .map_or_else(Vec::new, |guilds| guild_ids(guilds, bounds.guilds, &mut problems));
        let events = self
            .events
            .map_or_else(Vec::new, |events| event_names(events, table, &mut problems));
        let ttl = milliseconds(
            self.ttl_ms,
            "ttl_ms",
            settings.ttl_ms,
            settings.max_ttl_ms,
            &mut problems,
        );
        let (usual, most) = (settings.session_ms, settings.max_session_ms);
        let session_ms = milliseconds(self.session_ms, "session_ms", usual, most, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::Problems(problems));
        }
        let rights = TicketRights { user, guilds, events };
        Ok((rights, Duration::from_millis(ttl), session_ms))
    }
}

fn value_of(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Reads the guilds of a ticket: ascending, without duplicates.
fn guild_ids(raw: &RawValue, limit: usize, problems: &mut Vec<Problem>) -> Vec<GuildId> {
    let Value::Array(elements) = value_of(raw) else {
        problems.push(Problem::with("Guilds must be an array of ids.", raw));
        return Vec::new();
    };
    if elements.len() > limit {
        problems.push(Problem::with(format!("Guilds must be at most {limit} ids."), raw));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(elements.len());
    for element in &elements {
        match GuildId::from_json(element) {
            Some(id) => ids.push(id),
            None => problems.push(Problem::with_json("Guild is not an id.", element)),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Reads the names of the events that the page may send.
fn event_names(raw: &RawValue, table: &EventTable, problems: &mut Vec<Problem>) -> Vec<String> {
    let Value::Array(elements) = value_of(raw) else {
        problems.push(Problem::with("Events must be an array of names.", raw));
        return Vec::new();
    };
    if elements.len() > table.len() {
        problems.push(Problem::with("There are not as many events.", raw));
        return Vec::new();
    }
    let mut names = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Value::String(name) if table.may_send(&name, ClientType::Website) => names.push(name),
            other => problems.push(Problem::with_json("Websites may not send this event.", &other)),
        }
    }
    names
}

/// Reads a time from 1 to `most` milliseconds.
fn milliseconds(raw: Option<&RawValue>, name: &str, usual: u64, most: u64, problems: &mut Vec<Problem>) -> u64 {
    let Some(raw) = raw else { return usual };
    value_of(raw)
        .as_u64()
        .filter(|ms| (1..=most).contains(ms))
        .unwrap_or_else(|| {
            problems.push(Problem::with(
                format!("{name} must be an integer from 1 to {most}."),
                raw,
            ));
            usual
        })
}

/// Makes every ticket void that the key has issued for a user.
pub(super) async fn revoke(
    request: HttpRequest,
    query: Result<web::Query<RevokeQuery>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key: Arc<Key> = api.authorise(&request, Permission::Tickets)?;
    let user = query.ok().and_then(|query| UserId::new(&query.user));
    let user =
        user.ok_or_else(|| ApiError::Malformed("expected ?user=ID: the user of the tickets to revoke".into()))?;
    match api.app.tickets.revoke(key.shared_id(), &user).await {
        Ok(true) => Ok(HttpResponse::NoContent().finish()),
        Ok(false) => Err(ApiError::TooManyTickets(Duration::from_secs(1))),
        Err(_) => Err(ApiError::TicketsAway),
    }
}
