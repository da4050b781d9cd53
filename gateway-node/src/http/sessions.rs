//! `/api/v1/sessions`: who is connected to this node, and what an administrator can do about one session.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::session_id::SessionId;

use super::{Api, ApiError};
use crate::{
    config::Permission,
    registry::{Farewell, Kind, Listed, Page},
};

/// How many sessions a page has where the request does not say.
const PAGE: usize = 100;
/// How many it may have.
const LARGEST_PAGE: usize = 1000;

/// Which sessions are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    after: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Sessions<'a> {
    sessions: Vec<Session<'a>>,
    /// What `after` is to be for the next page; null where this is the last.
    next: Option<String>,
}

#[derive(Serialize)]
struct Session<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: Kind,
    key: String,
    node: &'a str,
}

/// `GET /api/v1/sessions?after=ID&limit=N`: the sessions on this node of the key's application, by id.
pub(super) async fn list(
    request: HttpRequest,
    query: Result<web::Query<Query>, actix_web::Error>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let limit = match &query {
        Ok(query) => query.limit.unwrap_or(PAGE),
        Err(_) => 0,
    };
    let (Ok(query), 1..=LARGEST_PAGE) = (query, limit) else {
        return Err(ApiError::Malformed(format!(
            "expected ?after=ID&limit=N, both optional: the id of a session, and 1 to {LARGEST_PAGE}"
        )));
    };
    let after = query.after.map(SessionId::from_raw);
    // One more than asked for, which tells whether there is a next page.
    let page = Page {
        after,
        limit: limit + 1,
    };
    let mut listed = api.registry.sessions(key.application(), page).await;
    let is_last = listed.len() <= limit;
    listed.truncate(limit);
    let next = listed.last().filter(|_| !is_last).map(|session| session.id.to_string());
    let sessions = listed.into_iter().map(|Listed { id, kind, key }| Session {
        id: id.to_string(),
        kind,
        key,
        node: &api.node,
    });
    Ok(HttpResponse::Ok().json(Sessions {
        sessions: sessions.collect(),
        next,
    }))
}

/// `DELETE /api/v1/sessions/{id}`: ends a session of the key's application. 204, or 404 where there is none.
pub(super) async fn kick(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let id = id.parse().map(SessionId::from_raw).map_err(|_| ApiError::NotFound)?;
    if api.registry.dismiss(key.application(), id, Farewell::Kicked).await {
        log::info!(session:% = id, key = key.id(); "session kicked");
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::NotFound)
    }
}

/// `POST /api/v1/sessions/{id}/reconnect`: asks the client of a Discord session to reconnect and resume (op 7), and closes the
/// connection with 4000 if it does not. A session of version 1 is closed with 1012. 204, or 404 where there is none.
pub(super) async fn reconnect(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let id = id.parse().map(SessionId::from_raw).map_err(|_| ApiError::NotFound)?;
    if api.registry.dismiss(key.application(), id, Farewell::Reconnect).await {
        log::info!(session:% = id, key = key.id(); "session asked to reconnect");
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::NotFound)
    }
}
