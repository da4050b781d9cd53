//! What the node serves over plain HTTP, beside the WebSockets on the same port.

mod admit;
mod body;
mod cluster;
mod discord;
mod error;
mod guilds;
mod landing;
mod page;
mod publish;
mod publish_limits;
mod routes;
mod sessions;
mod status;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

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
};
use crate::{
    accept::BrowserPolicy,
    admission::Admission,
    applications::Applications,
    auth::{Key, Keyring, Refused},
    backplane::Backplane,
    config::Permission,
    drain::DrainState,
    events::Events,
    hello_delay::HelloDelay,
    metrics::Metrics,
    public_url::PublicUrl,
    registry::Registry,
    resume::DiscordSessions,
    transport::OutboxPool,
};

/// What requests are answered from.
pub struct Api {
    /// The node's name.
    pub node: Arc<str>,
    /// When the node began to accept connections.
    pub since: Instant,
    /// Who is connected.
    pub registry: Registry,
    /// The way to the other nodes.
    pub backplane: Arc<dyn Backplane>,
    /// Which keys are good.
    pub keyring: Keyring,
    /// The table of application events.
    pub events: Events,
    /// The applications of the keys.
    pub applications: Applications,
    /// The Discord sessions that can go on.
    pub discord: DiscordSessions,
    /// Where clients are told to connect to.
    pub public_url: PublicUrl,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node is leaving.
    pub drain: DrainState,
    /// The most bytes that an event's `d` may have.
    pub event_bytes: usize,
    /// How much each key may still publish.
    pub publishing: PublishAllowances,
    /// Whether faults can be ordered.
    pub is_chaotic: bool,
    /// How much later Hello comes.
    pub hello_delay: HelloDelay,
    /// The time over which an order for many is carried out.
    pub spread: Duration,
    /// Whether anybody may read the metrics at this listener.
    pub metrics_public: bool,
    /// The connections there are.
    pub admission: Admission,
    /// Proxies that are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The request bodies that the node holds.
    pub bodies: Bodies,
    /// Which web pages may ask.
    pub browsers: BrowserPolicy,
    /// What waits for clients that read slowly.
    pub outboxes: OutboxPool,
}

impl Api {
    /// The key of a request, if it may do what the request asks for.
    ///
    /// # Errors
    /// 401 without a good key, 403 with one that lacks the permission, 503 while nobody can tell.
    fn authorise(&self, request: &HttpRequest, permission: Permission) -> Result<Arc<Key>, ApiError> {
        let presented = presented(request, "bearer").ok_or(ApiError::Unauthorised)?;
        let key = self
            .keyring
            .open(presented, SystemTime::now())
            .map_err(|refused| match refused {
                Refused::NotYet => ApiError::KeysAway,
                Refused::Wrong => ApiError::Unauthorised,
            })?;
        admit::show_key(request);
        if key.may(permission) {
            Ok(key)
        } else {
            Err(ApiError::Forbidden(permission))
        }
    }
}

/// What a request presents under this scheme of `Authorization`.
fn presented<'a>(request: &'a HttpRequest, scheme: &str) -> Option<&'a str> {
    let header = request.headers().get(header::AUTHORIZATION)?;
    let (named, presented) = header.to_str().ok()?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then_some(presented.trim())
}
