//! What libraries for Discord ask over HTTP before they connect, answered as Discord does. The gateway's own API is not
//! here, and neither is anything that they would ask a platform for.

mod bootstrap;
mod error;
mod start_budget;

use actix_web::{Resource, Route, Scope, web};

pub use self::error::RestError;

/// Everything below `/api`; what is the gateway's own there has to be registered before.
pub(super) fn scope() -> Scope {
    web::scope("/api")
        .service(endpoint("/gateway", web::get().to(bootstrap::gateway)))
        .service(endpoint("/gateway/bot", web::get().to(bootstrap::gateway_for_bot)))
        .service(endpoint("/users/@me", web::get().to(bootstrap::user)))
        .service(endpoint("/applications/@me", web::get().to(bootstrap::application)))
        .service(endpoint(
            "/oauth2/applications/@me",
            web::get().to(bootstrap::application),
        ))
        .default_service(web::to(error::not_found))
}

/// `path` with a version before it and without, and the one method that it knows.
fn endpoint(path: &str, route: Route) -> Resource {
    web::resource([path.to_owned(), format!("/{{version:v(?:[6-9]|10)}}{path}")])
        .route(route)
        .default_service(web::to(error::method_not_allowed))
}
