//! Commands of administrators to one session, or to all sessions of their application.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use shared::session_id::SessionId;
use tokio::time::Instant;

use super::{ApiError, HttpState, sessions::session_id};
use crate::{
    auth::Key,
    cluster_sessions::CommandOutcome,
    config::Permission,
    registry::{EndReason, InjectedFault, SessionCommand, SpreadCommand},
};

/// Maximum time over which a command for all sessions is spread.
const LONGEST_SPREAD_MS: u64 = 600_000;
/// Maximum delay of Hello. With more, clients would have no time left to identify.
const LATEST_HELLO_MS: u64 = 60_000;
/// Maximum time for which a delay of Hello applies.
const LONGEST_LATENESS_MS: u64 = 3_600_000;

/// `DELETE /api/v1/sessions/{id}`: ends a session of the key's application, whatever node it is on. Responds with 204, or
/// 404 if there is no such session.
pub(super) async fn kick(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let id = session_id(&id)?;
    let answer = command_one(&api, &key, id, SessionCommand::Leave(EndReason::Kicked)).await?;
    log::info!(session:% = id, key = key.id(); "session kicked");
    Ok(answer)
}

/// Sends a command to a session of the key's application, whatever node it is on. Responds with 204, or 404 if there is
/// no such session.
async fn command_one(
    api: &HttpState,
    key: &Key,
    id: SessionId,
    command: SessionCommand,
) -> Result<HttpResponse, ApiError> {
    match api.app.cluster_sessions.command(key.application(), id, command).await {
        CommandOutcome::Done => Ok(HttpResponse::NoContent().finish()),
        CommandOutcome::NotFound => Err(ApiError::NotFound),
        CommandOutcome::Refused => Err(ApiError::NotAllowed(
            "chaos.enabled is off on the session's node".to_owned(),
        )),
        CommandOutcome::Unknown => Err(ApiError::Unreachable),
    }
}

/// The parameters of a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    code: Option<u16>,
    resumable: Option<bool>,
    ms: Option<u64>,
    spread_ms: Option<u64>,
    scope: Option<Scope>,
}

/// Which sessions a command for all of them addresses.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// The sessions on this node.
    Node,
    /// The sessions on every node.
    Cluster,
}

impl How {
    /// Returns the command with this name, if it exists and the node allows it.
    fn command(&self, name: &str, api: &HttpState) -> Result<SessionCommand, ApiError> {
        let command = match name {
            "reconnect" => SessionCommand::Leave(EndReason::Reconnect),
            "close" => SessionCommand::Inject(InjectedFault::Close(
                self.code.filter(|code| is_close_code(*code)).ok_or_else(|| {
                    ApiError::Malformed("expected ?code=N, a close code from 1000 to 4999 that may be sent".to_owned())
                })?,
            )),
            "invalidate" => SessionCommand::Inject(InjectedFault::Invalidate {
                is_resumable: self.resumable.unwrap_or(false),
            }),
            "cut" => SessionCommand::Inject(InjectedFault::Cut),
            "forget" => SessionCommand::Inject(InjectedFault::Forget),
            "deafen" => {
                let ms = self
                    .ms
                    .ok_or_else(|| ApiError::Malformed("expected ?ms=N".to_owned()))?;
                SessionCommand::Inject(InjectedFault::Deafen(Duration::from_millis(ms)))
            }
            _ => return Err(ApiError::NotFound),
        };
        if command.is_ordinary() || api.is_chaotic {
            Ok(command)
        } else {
            Err(ApiError::NotAllowed("chaos.enabled is off".to_owned()))
        }
    }
}

/// `POST /api/v1/sessions/{id}/{order}`: sends a command to a session.
///
/// - `reconnect` makes the client reconnect: op 7, and close code 4000 if it does not; close code 1012 in version 1.
/// - `close?code=N` closes the connection.
///
/// With `chaos.enabled` also:
///
/// - `invalidate?resumable=BOOL` sends op 9.
/// - `cut` drops the connection without a close frame.
/// - `forget` makes the session impossible to resume.
/// - `deafen?ms=N` leaves heartbeats unanswered.
///
/// Responds with 204, or 404 if there is no such session.
pub(super) async fn command(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    how: Result<web::Query<How>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let (id, name) = path.into_inner();
    let id = session_id(&id)?;
    let how = how.ok().filter(|how| how.spread_ms.is_none() && how.scope.is_none());
    let how =
        how.ok_or_else(|| ApiError::Malformed("expected ?code=N, ?resumable=true or false, or ?ms=N".to_owned()))?;
    let command = how.command(&name, &api)?;
    let answer = command_one(&api, &key, id, command).await?;
    log::info!(session:% = id, key = key.id(), command = &*name; "command sent to a session");
    Ok(answer)
}

/// `POST /api/v1/sessions/{order}`: sends a command to every session of the key's application on this node, each at a
/// random moment within `spread_ms`, by default `drain.spread_ms`.
///
/// Responds with 200 and the number of `sessions`. With `scope=cluster`, the command is for all nodes, and the response
/// has the number of `nodes` that confirmed it.
pub(super) async fn order_all(
    request: HttpRequest,
    name: web::Path<String>,
    how: Result<web::Query<How>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let how = how
        .ok()
        .filter(|how| how.spread_ms.is_none_or(|ms| ms <= LONGEST_SPREAD_MS));
    let how = how.ok_or_else(|| {
        ApiError::Malformed(format!(
            "expected ?code=N, ?resumable=true or false, or ?ms=N, with &spread_ms=N up to {LONGEST_SPREAD_MS} and \
             &scope=node or cluster"
        ))
    })?;
    let spread_command = SpreadCommand {
        command: how.command(&name, &api)?,
        spread: how.spread_ms.map_or(api.spread, Duration::from_millis),
    };
    log::info!(key = key.id(), command = &**name; "command sent to all sessions");
    let answer = if how.scope == Some(Scope::Cluster) {
        let nodes = api
            .app
            .backplane
            .command_all(key.application(), &spread_command.text())
            .await;
        json!({ "nodes": nodes.map_err(|_| ApiError::Unreachable)?.nodes })
    } else {
        json!({ "sessions": api.app.registry.command_all(key.application(), spread_command).await })
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// The delay of Hello, and for how long it applies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lateness {
    delay_ms: u64,
    for_ms: u64,
}

/// `POST /api/v1/sessions/hello?delay_ms=N&for_ms=M`: delays Hello by N milliseconds on connections of Discord's
/// protocol that are opened at this node within the next M milliseconds, whatever their application. `for_ms=0` ends
/// the delay.
///
/// Responds with 204. Requires `chaos.enabled`.
pub(super) async fn delay_hello(
    request: HttpRequest,
    lateness: Result<web::Query<Lateness>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    if !api.is_chaotic {
        return Err(ApiError::NotAllowed("chaos.enabled is off".to_owned()));
    }
    let lateness = lateness
        .ok()
        .filter(|it| it.delay_ms <= LATEST_HELLO_MS && it.for_ms <= LONGEST_LATENESS_MS);
    let Lateness { delay_ms, for_ms } = lateness
        .ok_or_else(|| {
            ApiError::Malformed(format!(
                "expected ?delay_ms=N&for_ms=N, up to {LATEST_HELLO_MS} and {LONGEST_LATENESS_MS}"
            ))
        })?
        .into_inner();
    let until = Instant::now() + Duration::from_millis(for_ms);
    api.app.hello_delay.set(Duration::from_millis(delay_ms), until);
    log::info!(key = key.id(), delay_ms, for_ms; "hello delayed");
    Ok(HttpResponse::NoContent().finish())
}

/// Returns whether a close frame may carry this code (RFC 6455, section 7.4).
const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
