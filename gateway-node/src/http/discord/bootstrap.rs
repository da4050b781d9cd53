//! The endpoints: the gateway's URL, and information about the bot.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::RestError;
use crate::{
    applications::Application,
    auth::Refused,
    http::{HttpState, admit::show_key, presented},
    transport::UpgradeHead,
};

impl HttpState {
    /// Authenticates the bot that sent a request and returns its application.
    ///
    /// # Errors
    /// 401 without a valid bot key, 503 while the keys in Redis are unknown.
    fn bot(&self, request: &HttpRequest) -> Result<Arc<Application>, RestError> {
        let presented = presented(request, "bot").ok_or(RestError::Unauthorised)?;
        let key = self
            .app
            .keyring
            .open_bot(presented, crate::clock::wall_clock())
            .map_err(|refused| match refused {
                Refused::NotYet => RestError::KeysAway,
                Refused::Wrong => RestError::Unauthorised,
            })?;
        show_key(request);
        self.app
            .applications
            .get(key.application())
            .ok_or(RestError::Unauthorised)
    }
}

/// `GET /gateway`: returns the URL to connect to.
pub(in crate::http) async fn gateway(request: HttpRequest, api: web::Data<HttpState>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "url": &*api.app.public_url.gateway(&UpgradeHead::of(request.head())) }))
}

/// `GET /gateway/bot`: returns the URL to connect to, the recommended number of shards, and how many sessions the bot
/// may start.
pub(in crate::http) async fn gateway_for_bot(
    request: HttpRequest,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, RestError> {
    let application = api.bot(&request)?;
    let budget = api.start_budget(&application).await?;
    Ok(HttpResponse::Ok().json(json!({
        "url": &*api.app.public_url.gateway(&UpgradeHead::of(request.head())),
        "shards": application.shards,
        "session_start_limit": {
            "total": application.session_starts_per_day,
            "remaining": budget.remaining,
            "reset_after": budget.reset_after.as_millis(),
            "max_concurrency": application.max_concurrency,
        },
    })))
}

/// `GET /users/@me`: returns the bot user.
pub(in crate::http) async fn user(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, RestError> {
    Ok(HttpResponse::Ok().json(&api.bot(&request)?.user))
}

/// `GET /applications/@me`, and the older path `/oauth2/applications/@me`: returns the application.
pub(in crate::http) async fn application(
    request: HttpRequest,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, RestError> {
    Ok(HttpResponse::Ok().json(&api.bot(&request)?.about))
}
