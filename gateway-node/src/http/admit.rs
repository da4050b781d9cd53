//! Middleware for every request: charges the request to its client and tracks it for the deadlines of its connection.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _, HttpRequest, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{self, HeaderValue},
    },
    middleware::Next,
    web::{self, Bytes},
};
use tokio::time::Instant;

use super::{ApiError, HttpState, cors::CorsRequest};
use crate::{
    accept::{BrowserPolicy, Foreign, HttpConnection, RequestGuard, client_address, is_proxy},
    admission::Permit,
    transport::UpgradeHead,
};

/// The permit of a request that a trusted proxy forwarded.
struct Forwarded(Rc<Permit>);

/// Charges a request to its client and handles it. Responds with 429 if the client has no attempts left.
///
/// HEAD is handled as GET; the server then sends only the head of the response.
///
/// # Errors
/// Those of the wrapped service.
pub async fn admit(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    if request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
    let Some(connection) = request.request().conn_data::<Rc<HttpConnection>>().map(Rc::clone) else {
        // The administration listener counts no requests.
        return match check_browser(&request, BrowserPolicy::check_admin_request) {
            Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
            Err(error) => Ok(request.into_response(error.error_response())),
        };
    };
    let guard = connection.begin_request(has_body(&request));
    let cors = CorsRequest::of(&request);
    let admitted = charge(&request, &connection).and_then(|forwarded| {
        check_browser(&request, BrowserPolicy::check_request)?;
        Ok(forwarded)
    });
    let mut response = match admitted {
        Ok(forwarded) => {
            if let Some(permit) = &forwarded {
                request.extensions_mut().insert(Forwarded(Rc::clone(permit)));
            }
            next.call(request).await?.map_into_boxed_body()
        }
        Err(error) => request.into_response(error.error_response()),
    };
    let api = response.request().app_data::<web::Data<HttpState>>().cloned();
    if let Some(api) = api {
        let route = response.request().match_pattern();
        api.app.metrics.http_response(route, response.status().as_u16());
        cors.answer(&api.browsers, response.response_mut());
    }
    if connection.is_body_unread() {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| BoxBody::new(AdmitAnswer { body, _guard: guard })))
}

/// Returns whether a request declares a body.
fn has_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let is_empty = |length: &HeaderValue| length.as_bytes().trim_ascii().iter().all(|digit| *digit == b'0');
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| !is_empty(length))
}

/// Lets the server read the body of a request. Until then, the body stays in the socket.
pub(super) fn accept_body(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Rc<HttpConnection>>() {
        connection.accept_body();
    }
}

/// Charges a request to the address that it comes from.
fn charge(request: &ServiceRequest, connection: &HttpConnection) -> Result<Option<Rc<Permit>>, ApiError> {
    let now = Instant::now();
    if let (Some(peer), Some(api)) = (request.peer_addr(), request.app_data::<web::Data<HttpState>>()) {
        let address = client_address(&UpgradeHead::of(request.head()), peer, &api.trusted_proxies);
        if address != peer.ip().to_canonical() && !is_proxy(address, &api.trusted_proxies) {
            return Ok(Some(Rc::new(api.app.admission.forward(address, now)?)));
        }
    }
    connection.permit.request(now)?;
    Ok(None)
}

/// Refuses requests that the browser policy does not allow.
fn check_browser(
    request: &ServiceRequest,
    check: impl Fn(&BrowserPolicy, &UpgradeHead<'_>) -> Result<(), Foreign>,
) -> Result<(), ApiError> {
    if let Some(api) = request.app_data::<web::Data<HttpState>>() {
        check(&api.browsers, &UpgradeHead::of(request.head()))?;
    }
    Ok(())
}

/// Records that a request presented a valid key, so that it costs its address no attempt.
pub(super) fn show_key(request: &HttpRequest) {
    if let Some(Forwarded(permit)) = request.extensions().get() {
        permit.show_key();
    } else if let Some(connection) = request.conn_data::<Rc<HttpConnection>>() {
        connection.permit.show_key();
    }
}

/// The body of a response. The request ends when it is dropped.
struct AdmitAnswer {
    body: BoxBody,
    _guard: RequestGuard,
}

impl MessageBody for AdmitAnswer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
