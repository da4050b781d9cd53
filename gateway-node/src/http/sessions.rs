//! `/api/v1/sessions`: what an administrator can do about one session.

use actix_web::{HttpRequest, HttpResponse, web};
use shared::session_id::SessionId;

use super::{Api, ApiError};
use crate::config::Permission;

/// `DELETE /api/v1/sessions/{id}`: ends a session of the key's application. 204, or 404 where there is none.
pub(super) async fn kick(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let id = id.parse().map(SessionId::from_raw).map_err(|_| ApiError::NotFound)?;
    if api.registry.kick(key.application(), id).await {
        log::info!(session:% = id, key = key.id(); "session kicked");
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::NotFound)
    }
}
