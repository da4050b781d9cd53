//! `GET /api/v1/cluster`: this node, its backplane, and all nodes of the cluster.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::{ApiError, HttpState};
use crate::{
    backplane::{BackplaneStatus, Peer},
    config::Permission,
    registry::CountsSnapshot,
};

#[derive(Serialize)]
struct ClusterBody<'a> {
    node: ThisNode<'a>,
    backplane: BackplaneStatus,
    /// Empty if the node has no Redis, null while Redis is unavailable.
    nodes: Option<Vec<Peer>>,
    /// The sessions of all live nodes.
    sessions: Option<u64>,
}

#[derive(Serialize)]
struct ThisNode<'a> {
    name: &'a str,
    version: &'static str,
    uptime_seconds: u64,
    sessions: CountsSnapshot,
    draining: bool,
}

/// Returns the cluster as this node knows it, with only the log of the key's application. The status is 200 even during
/// an outage: then `nodes` is null, and `backplane.problem` gives the cause.
pub(super) async fn cluster(request: HttpRequest, api: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let nodes = api.app.backplane.peers().await.ok();
    let mut backplane = api.app.backplane.status();
    backplane.logs.retain(|log| log.application == *key.application());
    Ok(HttpResponse::Ok().json(ClusterBody {
        node: ThisNode {
            name: &api.node,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: api.since.elapsed().as_secs(),
            sessions: api.app.registry.counts().snapshot(),
            draining: api.app.drain.is_draining(),
        },
        backplane,
        sessions: nodes.as_ref().map(|nodes| nodes.iter().map(|node| node.sessions).sum()),
        nodes,
    }))
}
