//! `GET /api/v1/counts`: the guild counts of the key's application.

use actix_web::{HttpRequest, HttpResponse, web};
use shared::v1::payload::GuildCount;

use super::{ApiError, HttpState};
use crate::config::Permission;

/// Returns the counts that were broadcast last, at most a second ago.
pub(super) async fn counts(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let status = api.app.backplane.status();
    if !status.available {
        return Err(ApiError::CountsAway);
    }
    let log = status.logs.iter().find(|log| log.application == *key.application());
    let counts = log.map_or_else(GuildCount::default, |log| log.counts);
    Ok(HttpResponse::Ok().json(counts))
}
