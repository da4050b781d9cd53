//! Health and metrics: for load balancers, people and Prometheus.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header, web};
use serde::Serialize;
use shared::v1::payload::GuildCount;

use super::{ApiError, HttpState, error::RETRY_AFTER};
use crate::{
    backplane::{BackplaneStatus, Peer},
    config::Permission,
    logging,
    metrics::{Exposition, LogMoment, Moment, ProcessUse},
    registry::CountsSnapshot,
};

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    node: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    sessions: CountsSnapshot,
    /// Empty if the node has no Redis, null while Redis is unavailable.
    cluster: Option<ClusterTotals>,
    backplane: BackplaneStatus,
    draining: bool,
}

/// The nodes of the cluster and their sessions.
#[derive(Serialize)]
pub(super) struct ClusterTotals {
    nodes: Arc<[Peer]>,
    /// The sessions of all live nodes.
    sessions: u64,
}

impl ClusterTotals {
    /// Adds up the sessions of these nodes. A dead node has none.
    pub(super) fn of(nodes: Arc<[Peer]>) -> Self {
        Self {
            sessions: nodes.iter().map(|node| node.sessions).sum(),
            nodes,
        }
    }
}

/// Summarises the node's state. Responds with 200 while the node should get clients, and with 503 otherwise.
pub(super) async fn health(api: web::Data<HttpState>) -> HttpResponse {
    let (draining, backplane) = (api.app.drain.is_draining(), api.app.backplane.status());
    let status = match (draining, api.app.unready(&backplane)) {
        (true, _) => "draining",
        (false, None) => "ok",
        (false, Some(_)) => "degraded",
    };
    let health = Health {
        status,
        node: &api.node,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.since.elapsed().as_secs(),
        sessions: api.app.registry.counts().snapshot(),
        cluster: api.app.backplane.known_peers().map(ClusterTotals::of),
        backplane,
        draining,
    };
    let mut response = if status == "ok" {
        HttpResponse::Ok()
    } else {
        unavailable()
    };
    response.json(health)
}

/// The response to `GET /livez`.
pub const LIVE: &str = "ok\n";

/// Responds as long as the process runs.
pub(super) async fn livez() -> &'static str {
    LIVE
}

/// Responds with 200 if the node should get clients, and otherwise with 503 and the reason on one line.
pub(super) async fn readyz(api: web::Data<HttpState>) -> HttpResponse {
    match api.app.unready(&api.app.backplane.status()) {
        None => HttpResponse::Ok().body("ready\n"),
        Some(why) => unavailable().body(format!("not ready: {why}\n")),
    }
}

fn unavailable() -> HttpResponseBuilder {
    let mut response = HttpResponse::ServiceUnavailable();
    response.insert_header(RETRY_AFTER);
    response
}

/// Serves the metrics on the public listener: without a key if they are public, otherwise with an administrator's key.
pub(super) async fn metrics(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    if !api.metrics_public {
        api.authorise(&request, Permission::Admin)?;
    }
    open_metrics(request, api).await
}

/// Serves the metrics without a key.
pub(super) async fn open_metrics(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::of(accept);
    let backplane = api.app.backplane.status();
    let applications = api.app.applications.ids();
    let logs: Vec<_> = applications
        .iter()
        .map(|application| {
            // An application whose log has had no entries may have none yet.
            let log = backplane.logs.iter().find(|log| *log.application == **application);
            LogMoment {
                application,
                lag: log.map_or(0, |log| log.lag),
                lag_seconds: log.map_or(0.0, |log| log.behind.as_secs_f64()),
                counts: log.map_or_else(GuildCount::default, |log| log.counts),
                replay: api.app.registry.replay_moment(application),
            }
        })
        .collect();
    let moment = Moment {
        connections: api.app.admission.connections(),
        body_bytes: api.bodies.bytes(),
        outbox_bytes: api.outboxes.bytes(),
        largest_outbox_bytes: api.outboxes.largest(),
        outboxes_condemned: api.outboxes.condemned(),
        delivery_queue_bytes: api.app.registry.queued_bytes(),
        held_bytes: backplane.held_bytes,
        sessions: &api.app.registry.counts().snapshot().by_kind(),
        is_draining: api.app.drain.is_draining(),
        is_backplane_available: backplane.available,
        logs: &logs,
        log_lines_dropped: logging::dropped_lines(),
        connections_limit: api.app.admission.limit(),
        process: ProcessUse::now(),
    };
    let text = api.app.metrics.render(&moment).map_err(|error| {
        log::error!(cause:% = error; "the metrics cannot be rendered");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(("content-type", exposition.content_type()))
        .body(exposition.format(text)))
}
