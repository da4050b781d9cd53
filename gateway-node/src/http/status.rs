//! Health and metrics: for load balancers, people and Prometheus.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;

use super::{ApiError, HttpState, error::RETRY_AFTER};
use crate::{backplane::BackplaneStatus, config::Permission, logging, metrics::Moment, registry::CountsSnapshot};

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    node: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    sessions: CountsSnapshot,
    backplane: BackplaneStatus,
    draining: bool,
}

impl HttpState {
    /// Returns why the node should get no clients, on one line, or `None` if it should.
    fn unready(&self, backplane: &BackplaneStatus) -> Option<String> {
        if self.app.drain.is_draining() {
            return Some("draining".to_owned());
        }
        if !backplane.ready {
            let problem = backplane.problem.as_deref();
            return Some(problem.unwrap_or("the backplane is not ready").to_owned());
        }
        let is_complete = self.app.keyring.is_complete();
        (!is_complete).then(|| "the keys in redis have not been read yet".to_owned())
    }
}

/// Summarises the node's state. Responds with 200 while the node should get clients, and with 503 otherwise.
pub(super) async fn health(api: web::Data<HttpState>) -> HttpResponse {
    let (draining, backplane) = (api.app.drain.is_draining(), api.app.backplane.status());
    let status = match (draining, api.unready(&backplane)) {
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
    match api.unready(&api.app.backplane.status()) {
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
    open_metrics(api).await
}

/// Serves the metrics without a key.
pub(super) async fn open_metrics(api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let backplane = api.app.backplane.status();
    let lags: Vec<_> = backplane.logs.iter().map(|log| (&*log.application, log.lag)).collect();
    let counts: Vec<_> = backplane
        .logs
        .iter()
        .map(|log| (&*log.application, log.counts))
        .collect();
    let moment = Moment {
        connections: api.app.admission.connections(),
        body_bytes: api.bodies.bytes(),
        outbox_bytes: api.outboxes.bytes(),
        outboxes_condemned: api.outboxes.condemned(),
        sessions: &api.app.registry.counts().snapshot().by_kind(),
        is_draining: api.app.drain.is_draining(),
        is_backplane_available: backplane.available,
        log_lags: &lags,
        guild_counts: &counts,
        log_lines_dropped: logging::dropped_lines(),
    };
    let text = api.app.metrics.render(&moment).map_err(|error| {
        log::error!(cause:% = error; "the metrics cannot be rendered");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(("content-type", OPEN_METRICS))
        .body(text))
}
