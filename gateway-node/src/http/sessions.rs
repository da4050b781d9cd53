//! `/api/v1/sessions`: who is connected to this node, and what an administrator can do about one session.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::session_id::SessionId;

use super::{
    Api, ApiError,
    page::{Page, PageQuery},
};
use crate::{
    auth::Key,
    config::Permission,
    registry::{self, Disturbance, Farewell, Kind, Listed, Order},
};

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
    query: Result<web::Query<PageQuery>, actix_web::Error>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let page = Page::of(query)?;
    let asked = registry::Page {
        after: page.after.map(SessionId::from_raw),
        limit: page.wanted(),
    };
    let mut listed = api.registry.sessions(key.application(), asked).await;
    let next = page.cut(&mut listed, |session| session.id.get());
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
    let id = session_id(&id)?;
    let answer = tell(&api, &key, id, Order::Leave(Farewell::Kicked)).await?;
    log::info!(session:% = id, key = key.id(); "session kicked");
    Ok(answer)
}

/// The session that a path names.
fn session_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map(SessionId::from_raw).map_err(|_| ApiError::NotFound)
}

/// Gives a session of the key's application an order. 204, or 404 where there is none.
async fn tell(api: &Api, key: &Key, id: SessionId, order: Order) -> Result<HttpResponse, ApiError> {
    if api.registry.tell(key.application(), id, order).await {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::NotFound)
    }
}

/// What an administrator orders, where it needs saying more precisely.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    code: Option<u16>,
    resumable: Option<bool>,
    ms: Option<u64>,
}

/// `POST /api/v1/sessions/{id}/{order}`: has a session's client reconnect (`reconnect`: op 7, and close 4000 if it does not; 1012
/// in version 1) or closes its connection (`close?code=N`). With `chaos.enabled` as well: `invalidate?resumable=BOOL` (op
/// 9), `cut` (no close frame), `forget` (it cannot be resumed), `deafen?ms=N` (no answer to heartbeats). 204, or 404
/// where there is no such session.
pub(super) async fn order(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    how: Result<web::Query<How>, actix_web::Error>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let (id, name) = path.into_inner();
    let id = session_id(&id)?;
    let malformed = || ApiError::Malformed("expected ?code=N, ?resumable=true or false, or ?ms=N".to_owned());
    let how = how.map_err(|_| malformed())?;
    let disturbance = match &*name {
        "reconnect" => None,
        "close" => Some(Disturbance::Close(
            how.code.filter(|code| is_close_code(*code)).ok_or_else(|| {
                ApiError::Malformed("expected ?code=N, a close code from 1000 to 4999 that may be sent".to_owned())
            })?,
        )),
        "invalidate" => Some(Disturbance::Invalidate {
            is_resumable: how.resumable.unwrap_or(false),
        }),
        "cut" => Some(Disturbance::Cut),
        "forget" => Some(Disturbance::Forget),
        "deafen" => Some(Disturbance::Deafen(Duration::from_millis(
            how.ms.ok_or_else(malformed)?,
        ))),
        _ => return Err(ApiError::NotFound),
    };
    let is_ordinary = matches!(disturbance, None | Some(Disturbance::Close(_)));
    if !is_ordinary && !api.is_chaotic {
        return Err(ApiError::NotAllowed("chaos.enabled is off".to_owned()));
    }
    let order = disturbance.map_or(Order::Leave(Farewell::Reconnect), Order::Disturb);
    let answer = tell(&api, &key, id, order).await?;
    log::info!(session:% = id, key = key.id(), order = &*name; "session ordered");
    Ok(answer)
}

/// Whether a close frame may have this code (RFC 6455, section 7.4).
const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
