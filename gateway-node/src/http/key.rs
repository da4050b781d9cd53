//! `GET /api/v1/key`: what the key of the request permits.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use shared::client_type::ClientType;

use super::{ApiError, HttpState};
use crate::config::Permission;

#[derive(Serialize)]
struct KeyBody {
    id: Arc<str>,
    application: Arc<str>,
    /// The client types that may identify with it.
    types: Vec<&'static str>,
    /// What it permits over HTTP.
    permissions: Vec<&'static str>,
    /// When it expires, in milliseconds since the Unix epoch; null if it does not.
    expires_at: Option<u64>,
}

/// Returns the id, application, types and permissions of the key, and when it expires. Every good key may ask.
pub(super) async fn key(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let key = api.authenticate(&request)?;
    let types = ClientType::ALL.into_iter().filter(|kind| key.is_for(*kind));
    let permissions = Permission::ALL.into_iter().filter(|permission| key.may(*permission));
    Ok(HttpResponse::Ok().json(KeyBody {
        id: Arc::clone(key.shared_id()),
        application: Arc::clone(key.application()),
        types: types.map(ClientType::as_str).collect(),
        permissions: permissions.map(Permission::as_str).collect(),
        expires_at: key.expires_at().map(crate::clock::ms_of),
    }))
}
