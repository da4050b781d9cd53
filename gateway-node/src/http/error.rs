//! Errors as HTTP responses: `{"code":"unknown_event","message":"..."}`.

use std::{fmt, time::Duration};

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::StatusCode};
use shared::{problem::Problem, v1::ReplyFailure};

use crate::{accept::Foreign, admission::Denied, config::Permission};

/// The `Retry-After` of a 429 or 503, unless a more exact time is known.
pub(super) const RETRY_AFTER: (&str, &str) = ("retry-after", "1");

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The key is missing or invalid.
    #[error("a good key is needed: Authorization: Bearer <key>")]
    Unauthorised,
    /// The key lacks a permission.
    #[error("the key lacks the permission {}", .0.as_str())]
    Forbidden(Permission),
    /// The key's client types may not send the event, or the node's settings do not allow the request.
    #[error("{0}")]
    NotAllowed(String),
    /// The client's address has no attempts or connections left.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The request comes from a foreign web page, or names a foreign host.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The bodies of the key's requests in progress have reached their maximum of bytes.
    #[error("requests of this key with as many bytes as `http.body_bytes_per_key` allows are under way")]
    BodiesOfKey,
    /// The bodies of all requests in progress have reached their maximum of bytes.
    #[error("requests with as many bytes as `http.body_bytes` allows are under way")]
    BodiesOfNode,
    /// The body arrives too slowly.
    #[error("the body did not arrive in `http.body_timeout_ms`, or not at `http.body_bytes_per_second`")]
    BodyTimeout,
    /// The body or query is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The body or an event in it is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The event is not in the table.
    #[error("{0}")]
    UnknownEvent(String),
    /// The event's data is invalid.
    #[error("{0}")]
    InvalidData(String),
    /// Values in the body are invalid.
    #[error("Malformed data.")]
    Problems(Vec<Problem>),
    /// The event has no receiver.
    #[error("{0}")]
    NoReceiver(String),
    /// The idempotency key was used for a different request.
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// The key has published its maximum.
    #[error("the key has published as much as `{setting}` allows, nothing was published")]
    RateLimited {
        /// The setting that limits it.
        setting: &'static str,
        /// The time after which the request can be repeated.
        wait: Duration,
    },
    /// The application has its maximum number of idempotency keys. The oldest expires after this time.
    #[error(
        "the application has as many values of Idempotency-Key as `limits.idempotency_keys` allows, nothing was \
         published"
    )]
    TooManyKeys(Duration),
    /// The application has its maximum number of unused tickets, or there are too many revocations.
    #[error("the application has as many unused tickets or revocations as `tickets.unused` allows")]
    TooManyTickets(Duration),
    /// The application has its maximum of jobs.
    #[error("the application has as many jobs as `jobs.entries` or `jobs.bytes` allows, nothing was published")]
    TooManyJobs,
    /// There is no job with this id.
    #[error("there is no job with this id")]
    NoJob,
    /// The key has its maximum number of requests in flight.
    #[error("the key has as many requests in flight as `limits.requests_in_flight` allows")]
    RequestsOfKey,
    /// A request got no reply. It may have been carried out.
    #[error("{}", no_reply(.0))]
    NoReply(ReplyFailure),
    /// The store of tickets is currently unavailable.
    #[error("the tickets are unavailable")]
    TicketsAway,
    /// The events that wait for the log have reached their maximum of bytes.
    #[error("as many bytes of events wait as `cluster.hold_bytes` allows, nothing was published")]
    Overloaded,
    /// The log is unreachable or refuses writes, with the cause on one line if it is known.
    #[error("the log is unavailable, nothing was published{}", because(.0.as_deref()))]
    Unavailable(Option<String>),
    /// The other nodes cannot be reached with a command.
    #[error("the other nodes cannot be reached")]
    Unreachable,
    /// The keys in Redis have not been read yet, so the key cannot be judged.
    #[error("not every key is known to this node yet")]
    KeysAway,
    /// The guilds are currently unavailable.
    #[error("the guilds are away")]
    GuildsAway,
    /// The guild counts are currently unavailable.
    #[error("the guild counts are unavailable")]
    CountsAway,
    /// The log cannot be read now.
    #[error("the log is unavailable")]
    LogAway,
    /// The log does not lead on from a position.
    #[error("the log does not have this position, or has lost events after it")]
    EventsLost,
    /// The log became unavailable before it replied. The events may have been published.
    #[error("the log did not answer in time; repeat the request with the same Idempotency-Key")]
    Unknown,
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    NotFound,
    /// The path exists, but not for this method. `Allow` lists its methods.
    #[error("there is something at this path, but not for this method")]
    MethodNotAllowed,
    /// An internal error. The cause is in the node's log.
    #[error("internal fault")]
    Internal,
}

impl ApiError {
    /// Refuses something that is larger than an event may be.
    pub(super) fn event_too_large(what: impl fmt::Display, event_bytes: usize) -> Self {
        Self::TooLarge(format!(
            "{what} may have {event_bytes} bytes, as `cluster.event_bytes` says"
        ))
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Unauthorised => "unauthorised",
            Self::Forbidden(_) => "forbidden",
            Self::NotAllowed(_) => "not_allowed",
            Self::Denied(denied) => denied.code(),
            Self::Foreign(foreign) => foreign.code(),
            Self::NoReply(failure) => failure.code(),
            Self::BodyTimeout => "timeout",
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too_large",
            Self::UnknownEvent(_) => "unknown_event",
            Self::InvalidData(_) | Self::Problems(_) => "invalid_data",
            Self::NoReceiver(_) => "no_receiver",
            Self::KeyReused => "idempotency_key_reused",
            Self::RateLimited { .. } | Self::BodiesOfKey => "rate_limited",
            Self::TooManyKeys(_) => "too_many_idempotency_keys",
            Self::Overloaded
            | Self::BodiesOfNode
            | Self::RequestsOfKey
            | Self::TooManyJobs
            | Self::TooManyTickets(_) => "overloaded",
            Self::Unavailable(_)
            | Self::Unreachable
            | Self::KeysAway
            | Self::GuildsAway
            | Self::CountsAway
            | Self::LogAway
            | Self::TicketsAway => "unavailable",
            Self::EventsLost => "events_lost",
            Self::Unknown => "unknown",
            Self::NotFound | Self::NoJob => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Internal => "internal",
        }
    }
}

impl ApiError {
    fn body(&self) -> String {
        if let Self::NoReply(ReplyFailure::Error(error)) = self {
            // Byte for byte as the receiver wrote it.
            return format!(r#"{{"code":"{}","message":"{self}","error":{error}}}"#, self.code());
        }
        let mut body = serde_json::json!({ "code": self.code(), "message": self.to_string() });
        if let Self::Problems(problems) = self {
            let errors: Vec<_> = problems.iter().map(|problem| &*problem.error).collect();
            let data: Vec<_> = problems.iter().map(|problem| &problem.data).collect();
            body["errors"] = serde_json::json!(errors);
            body["data"] = serde_json::json!(data);
        }
        body.to_string()
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::NotAllowed(_) | Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownEvent(_) | Self::InvalidData(_) | Self::Problems(_) | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NoReceiver(_) => StatusCode::CONFLICT,
            Self::Denied(_)
            | Self::BodiesOfKey
            | Self::RequestsOfKey
            | Self::TooManyJobs
            | Self::RateLimited { .. }
            | Self::TooManyKeys(_)
            | Self::TooManyTickets(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded
            | Self::BodiesOfNode
            | Self::Unavailable(_)
            | Self::Unreachable
            | Self::KeysAway
            | Self::GuildsAway
            | Self::CountsAway
            | Self::LogAway
            | Self::TicketsAway => StatusCode::SERVICE_UNAVAILABLE,
            Self::EventsLost => StatusCode::GONE,
            Self::Unknown | Self::NoReply(ReplyFailure::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoReply(_) => StatusCode::BAD_GATEWAY,
            Self::NotFound | Self::NoJob => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if matches!(self, Self::Unauthorised) {
            response.insert_header(("www-authenticate", "Bearer"));
        }
        if matches!(
            self.status_code(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            response.insert_header(RETRY_AFTER);
        }
        if let Self::RateLimited { wait, .. } | Self::TooManyKeys(wait) | Self::TooManyTickets(wait) = self {
            response.insert_header(("retry-after", whole_seconds(*wait)));
        }
        if matches!(self, Self::Denied(_) | Self::BodyTimeout) {
            response.force_close();
        }
        response
            .insert_header(("content-type", "application/json"))
            .body(self.body())
    }
}

/// Says why a request got no reply.
const fn no_reply(failure: &ReplyFailure) -> &'static str {
    match failure {
        ReplyFailure::Timeout => "no reply came in time",
        ReplyFailure::Gone => "the session of the receiver has ended",
        ReplyFailure::Error(_) => "the receiver replied with an error",
        ReplyFailure::InvalidReply => "the reply is not valid",
    }
}

/// Formats the cause at the end of a message, if it is known.
fn because(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

/// Converts a time to the whole seconds of `Retry-After`, rounded up so that a client that waits that long is not too
/// early.
fn whole_seconds(wait: Duration) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(begun).max(1)
}

pub(super) async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::reference,
        http::publish_limits::{BYTES, EVENTS},
    };

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (ms, expected) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
            let wait = Duration::from_millis(ms);
            let setting = "limits.publish_events_per_minute";
            let answer = ApiError::RateLimited { setting, wait }.error_response();
            assert_eq!(answer.status(), 429);
            assert_eq!(answer.headers().get("retry-after").unwrap(), expected, "{ms}");
        }
    }

    /// Returns the settings that a text names in backquotes.
    fn settings(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn every_refusal_for_size_or_rate_names_a_setting_that_exists() {
        let wait = Duration::from_secs(1);
        let refusals = [
            ApiError::Denied(Denied::Full),
            ApiError::Denied(Denied::PerAddress),
            ApiError::Denied(Denied::Keyless),
            ApiError::Denied(Denied::Attempts),
            ApiError::BodiesOfKey,
            ApiError::BodiesOfNode,
            ApiError::BodyTimeout,
            ApiError::event_too_large("a guild", 5),
            ApiError::RateLimited { setting: EVENTS, wait },
            ApiError::RateLimited { setting: BYTES, wait },
            ApiError::TooManyKeys(wait),
            ApiError::TooManyTickets(wait),
            ApiError::RequestsOfKey,
            ApiError::TooManyJobs,
            ApiError::Overloaded,
        ];
        let known = reference();
        for refusal in refusals {
            let text = refusal.to_string();
            let settings = settings(&text);
            assert!(!settings.is_empty(), "{text}");
            for setting in settings {
                assert!(known.iter().any(|doc| doc.key == setting), "{setting} in {text}");
            }
        }
    }
}
