//! Cross-origin resource sharing: which web pages may read the responses of the public listener.
//!
//! `server.allowed_origins` decides, as it does for WebSockets. Credentials are never allowed: no cookie means anything
//! here, and a key goes into `Authorization`.

use actix_web::{
    HttpResponse,
    dev::ServiceRequest,
    http::{
        Method,
        header::{self, HeaderMap, HeaderValue},
    },
};

use crate::accept::{AllowedReaders, BrowserPolicy};

/// The request headers that a page may send.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, traceparent");
/// The response headers that a page may read.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("retry-after");
/// The seconds for which a browser remembers the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What a request says about the page that sent it.
pub(super) struct CorsRequest {
    origin: Option<HeaderValue>,
    is_preflight: bool,
}

impl CorsRequest {
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let headers = request.headers();
        let asks_for_method = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Self {
            origin: headers.get(header::ORIGIN).cloned(),
            is_preflight: request.method() == Method::OPTIONS && asks_for_method,
        }
    }

    /// Adds to a response which pages may read it. The answer to a preflight also gets the methods of its path.
    pub(super) fn answer<B>(self, policy: &BrowserPolicy, response: &mut HttpResponse<B>) {
        let headers: &mut HeaderMap = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.origin else { return };
        let allowed = match policy.readers(origin.as_bytes()) {
            None => return,
            Some(AllowedReaders::AnyOrigin) => HeaderValue::from_static("*"),
            Some(AllowedReaders::ThisOrigin) => origin,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if !self.is_preflight {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
            return;
        }
        if let Some(methods) = headers.get(header::ALLOW).cloned() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}
