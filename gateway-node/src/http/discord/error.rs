//! Errors in Discord's format: `{"message":"404: Not Found","code":0}`.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};

use crate::http::error::RETRY_AFTER;

/// Why a library's request is refused. `Display` is the message in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// The bot key is missing or invalid.
    #[error("401: Unauthorized")]
    Unauthorised,
    /// There is nothing at this path.
    #[error("404: Not Found")]
    NotFound,
    /// The path exists, but not for this method.
    #[error("405: Method Not Allowed")]
    MethodNotAllowed,
    /// Redis is unavailable, or its keys have not been read yet.
    #[error("503: Service Unavailable")]
    KeysAway,
}

impl ResponseError for RestError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::KeysAway => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        let explained = match self {
            Self::Unauthorised => Some(("www-authenticate", "Bot")),
            Self::KeysAway => Some(RETRY_AFTER),
            Self::NotFound | Self::MethodNotAllowed => None,
        };
        if let Some(header) = explained {
            response.insert_header(header);
        }
        response.json(serde_json::json!({ "message": self.to_string(), "code": 0 }))
    }
}

pub(in crate::http) async fn not_found() -> Result<HttpResponse, RestError> {
    Err(RestError::NotFound)
}
