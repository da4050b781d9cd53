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
mod sessions;
mod status;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{
    HttpRequest,
    http::header,
    web::{self, ServiceConfig},
};
use ipnet::IpNet;
use tokio::time::Instant;

pub use self::{
    admit::admit,
    body::{Bodies, BodyLimits},
    discord::RestError,
    error::ApiError,
    publish_limits::PublishAllowances,
    status::LIVE,
};
use crate::{
    admission::Admission,
    applications::Applications,
    auth::{Key, Keyring, Refused},
    cluster::{Backplane, DiscordSessions},
    config::Permission,
    drain::DrainState,
    events::Events,
    gate::BrowserPolicy,
    late_hello::LateHello,
    metrics::Metrics,
    public_url::PublicUrl,
    registry::Registry,
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
    pub late_hello: LateHello,
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

/// The routes of the public listener. No handler takes a body as an argument: it is read by [`Bodies`], once the head has
/// shown a valid key.
pub fn public(api: web::Data<Api>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service
            .app_data(api)
            .route("/", web::get().to(landing::landing))
            .route("/protocol", web::get().to(landing::protocol))
            .route("/health", web::get().to(status::health))
            .route("/livez", web::get().to(status::livez))
            .route("/readyz", web::get().to(status::readyz))
            .route("/metrics", web::get().to(status::metrics))
            .route("/api/v1/events", web::post().to(publish::publish))
            .route("/api/v1/cluster", web::get().to(cluster::cluster))
            .route("/api/v1/sessions", web::get().to(sessions::list))
            .route("/api/v1/sessions/{id}", web::delete().to(sessions::kick))
            .route("/api/v1/sessions/hello", web::post().to(sessions::delay_hello))
            .route("/api/v1/sessions/{order}", web::post().to(sessions::order_all))
            .route("/api/v1/sessions/{id}/{order}", web::post().to(sessions::order))
            .service(
                web::scope("/api/v1/applications/{application}/guilds")
                    .route("", web::get().to(guilds::list))
                    .route("/{guild}", web::get().to(guilds::get))
                    .route("/{guild}", web::put().to(guilds::put))
                    .route("/{guild}", web::delete().to(guilds::delete))
                    .route("/{guild}/members", web::get().to(guilds::members))
                    .route("/{guild}/members", web::put().to(guilds::put_members))
                    .default_service(web::to(error::not_found)),
            )
            .service(web::scope("/api/v1").default_service(web::to(error::not_found)))
            .service(discord::scope())
            .default_service(web::to(error::not_found));
    }
}

/// The routes of the listener for administration, which is only for those who can reach it.
pub fn admin(api: web::Data<Api>) -> impl FnOnce(&mut ServiceConfig) {
    move |service| {
        service
            .app_data(api)
            .route("/health", web::get().to(status::health))
            .route("/livez", web::get().to(status::livez))
            .route("/readyz", web::get().to(status::readyz))
            .route("/metrics", web::get().to(status::open_metrics))
            .default_service(web::to(error::not_found));
    }
}
