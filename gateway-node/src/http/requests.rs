//! `POST /api/v1/requests`: sends a request to one session, and waits for its reply.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ApiError, HttpState,
    object::Object,
    publish::{PublishBody, refusal, trace_parent},
};
use crate::{backplane::Publication, config::Permission, requests::RequestError};

/// The response to a request that got a reply.
#[derive(Serialize)]
struct ReplyBody {
    d: Box<RawValue>,
}

/// Sends the request in the body, and responds with the reply.
pub(super) async fn ask(
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Publish)?;
    let body = api.body(&request, payload, &key).await?;
    api.charge_events(&key, 1)?;
    let Object(body): Object<PublishBody<'_>> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::Malformed(format!("the body is no request: {error}")))?;
    let slot = api.app.request_slots.take(key.application(), key.shared_id());
    let Some(_slot) = slot else {
        api.app.metrics.event_refused("overloaded");
        return Err(ApiError::RequestsOfKey);
    };
    let (event, timeout) = body
        .request(&key, &api.app.events.current(), api.event_bytes)
        .inspect_err(|_| api.app.metrics.event_refused("invalid"))?;
    let event = Publication {
        trace: trace_parent(&request).map(Box::new),
        ..event
    };
    let application = Arc::clone(key.application());
    match api.app.requests.ask(application, event, timeout).await {
        Ok(d) => {
            let d = RawValue::from_string(d.to_string()).map_err(|_| ApiError::Internal)?;
            Ok(HttpResponse::Ok().json(ReplyBody { d }))
        }
        Err(RequestError::Refused(error)) => Err(refusal(&api, &error)),
        Err(RequestError::Failed(failure)) => Err(ApiError::NoReply(failure)),
    }
}
