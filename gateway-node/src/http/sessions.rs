//! `/api/v1/sessions`: lists the sessions of the cluster, and shows one of them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::session_id::SessionId;

use super::{ApiError, HttpState, page::PageBody};
use crate::{
    cluster_sessions::ClusterPage,
    config::Permission,
    registry::{ListedSession, Page, SessionFilter},
};

#[derive(Serialize)]
struct SessionsBody {
    sessions: Vec<ListedSession>,
    /// The `after` of the next page; null on the last page.
    next: Option<String>,
    /// Whether every node answered.
    complete: bool,
}

/// Which sessions a request asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuery {
    after: Option<u64>,
    limit: Option<usize>,
    r#type: Option<String>,
    key: Option<String>,
    user: Option<String>,
    node: Option<String>,
}

/// `GET /api/v1/sessions`: lists the sessions of the key's application on all nodes, by id. `type`, `key`, `user` and
/// `node` each leave only some of them.
pub(super) async fn list(
    request: HttpRequest,
    query: Result<web::Query<SessionsQuery>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let query = query.map_err(|_| {
        ApiError::Malformed("expected ?after=ID&limit=N&type=TYPE&key=ID&user=ID&node=NAME, all optional".to_owned())
    })?;
    let query = query.into_inner();
    let page = PageBody::new(query.after, query.limit)?;
    let asked = Page {
        after: page.after.map(SessionId::from_raw),
        limit: page.wanted(),
    };
    let filter = SessionFilter {
        id: None,
        kind: query.r#type,
        key: query.key,
        user: query.user,
        node: query.node,
    };
    let ClusterPage {
        mut sessions,
        is_complete,
    } = api.app.cluster_sessions.list(key.application(), asked, &filter).await;
    let next = page.cut(&mut sessions, |session| session.id.get());
    Ok(HttpResponse::Ok().json(SessionsBody {
        sessions,
        next,
        complete: is_complete,
    }))
}

/// `GET /api/v1/sessions/{id}`: returns a session of the key's application, whatever node it is on. Responds with 404 if
/// there is no such session, and with 503 if it was not found but not every node answered.
pub(super) async fn get(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let id = session_id(&id)?;
    let found = api.app.cluster_sessions.find(key.application(), id).await;
    let session = found.map_err(|_| ApiError::Unreachable)?.ok_or(ApiError::NotFound)?;
    Ok(HttpResponse::Ok().json(session))
}

/// Parses the session id in a path.
pub(super) fn session_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map(SessionId::from_raw).map_err(|_| ApiError::NotFound)
}
