//! How the node is: for balancers, for people, for Prometheus.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::{Api, ApiError};
use crate::{cluster::Status, config::Permission, registry::Headcount};

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    node: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    sessions: Headcount,
    backplane: Status,
    draining: bool,
}

impl Api {
    fn is_ready(&self) -> bool {
        !self.drain.is_draining() && self.backplane.status().ready
    }
}

/// Everything in brief; 200 while the node should get clients, 503 otherwise.
pub(super) async fn health(api: web::Data<Api>) -> HttpResponse {
    let (draining, backplane) = (api.drain.is_draining(), api.backplane.status());
    let status = match (draining, backplane.ready) {
        (true, _) => "draining",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    let health = Health {
        status,
        node: &api.node,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.since.elapsed().as_secs(),
        sessions: api.registry.census().headcount(),
        backplane,
        draining,
    };
    let mut response = if status == "ok" {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response.json(health)
}

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the node should get clients.
pub(super) async fn readyz(api: web::Data<Api>) -> HttpResponse {
    if api.is_ready() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body("not ready\n")
    }
}

/// The metrics at the public listener: for everybody or for administrators.
pub(super) async fn metrics(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    if !api.metrics_public {
        api.authorise(&request, Permission::Admin)?;
    }
    open_metrics(api).await
}

/// The metrics at a listener that only those can reach who may read them.
pub(super) async fn open_metrics(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let text = api
        .metrics
        .render(&api.registry.census().headcount().by_kind(), api.drain.is_draining())
        .map_err(|error| {
            log::error!(cause:% = error; "the metrics cannot be rendered");
            ApiError::Internal
        })?;
    Ok(HttpResponse::Ok()
        .insert_header(("content-type", OPEN_METRICS))
        .body(text))
}
