//! Plain HTTP, on the same port as the WebSockets: health, metrics, the HTTP API, and the endpoints that Discord
//! libraries request before they connect.

mod admit;
mod body;
mod cluster;
mod cors;
mod counts;
mod discord;
mod error;
mod guilds;
mod history;
mod jobs;
mod key;
mod landing;
mod log_part;
mod object;
mod page;
mod publish;
mod publish_limits;
mod requests;
mod routes;
mod session_commands;
mod sessions;
mod status;
mod tail;
mod tickets;

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, http::header};
use ipnet::IpNet;
use tokio::time::Instant;

pub use self::{
    admit::admit,
    body::{Bodies, BodyLimits},
    discord::RestError,
    error::ApiError,
    publish_limits::PublishAllowances,
    routes::{Endpoint, admin, admin_endpoints, public, public_endpoints},
    status::LIVE,
    tickets::TicketBounds,
};
use crate::{
    accept::BrowserPolicy,
    app_state::AppState,
    auth::{Key, Refused},
    config::Permission,
    transport::OutboxPool,
};

/// The state shared by all request handlers.
pub struct HttpState {
    /// The handles that it shares with the rest of the node.
    pub app: AppState,
    /// The node's name.
    pub node: Arc<str>,
    /// When the node started to accept connections.
    pub since: Instant,
    /// Maximum bytes of an event's `d`.
    pub event_bytes: usize,
    /// How much each key may still publish.
    pub publishing: PublishAllowances,
    /// The bounds of tickets.
    pub ticket_bounds: TicketBounds,
    /// Whether faults can be injected (`chaos.enabled`).
    pub is_chaotic: bool,
    /// The default time over which a command for all sessions is spread.
    pub spread: Duration,
    /// Whether this listener serves metrics without a key.
    pub metrics_public: bool,
    /// The networks of trusted proxies.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The request bodies in memory.
    pub bodies: Bodies,
    /// Which web pages may send requests.
    pub browsers: BrowserPolicy,
    /// The bytes queued in all outboxes.
    pub outboxes: OutboxPool,
}

impl HttpState {
    /// Authenticates a request and checks that its key has `permission`.
    ///
    /// # Errors
    /// 401 without a valid key, 403 if the key lacks the permission, 503 while the keys in Redis are unknown.
    fn authorise(&self, request: &HttpRequest, permission: Permission) -> Result<Arc<Key>, ApiError> {
        let key = self.authenticate(request)?;
        if key.may(permission) {
            Ok(key)
        } else {
            Err(ApiError::Forbidden(permission))
        }
    }

    /// Authenticates a request.
    ///
    /// # Errors
    /// 401 without a valid key, 503 while the keys in Redis are unknown.
    fn authenticate(&self, request: &HttpRequest) -> Result<Arc<Key>, ApiError> {
        let presented = presented(request, "bearer").ok_or(ApiError::Unauthorised)?;
        let key = self
            .app
            .keyring
            .open(presented, crate::clock::wall_clock())
            .map_err(|refused| match refused {
                Refused::NotYet => ApiError::KeysAway,
                Refused::Wrong => ApiError::Unauthorised,
            })?;
        admit::show_key(request);
        Ok(key)
    }
}

/// Returns the credentials that a request presents in `Authorization` with this scheme.
fn presented<'a>(request: &'a HttpRequest, scheme: &str) -> Option<&'a str> {
    let header = request.headers().get(header::AUTHORIZATION)?;
    let (named, presented) = header.to_str().ok()?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then_some(presented.trim())
}
