//! The label values of the metrics that are known before anything happens.

use actix_web::http::StatusCode;
use shared::{close::Close, discord, v1::ErrorCode};

use crate::{
    accept,
    admission::Denied,
    backplane::PublishError,
    client_error_log::FAULT,
    config::Settings,
    http,
    metrics::KnownLabels,
    session::{DROPS, ENDINGS, PROBLEMS, RESUMES},
};

/// The statuses of HTTP responses that alerts and dashboards ask for.
const STATUSES: [StatusCode; 5] = [
    StatusCode::OK,
    StatusCode::UNAUTHORIZED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Returns what is known from the code and from the settings.
pub(super) fn of(settings: &Settings) -> KnownLabels {
    let closes: Vec<_> = Close::ALL.into_iter().chain(discord::close::ALL).collect();
    let codes = closes.iter().map(|close| close.code);
    let close_codes = codes.chain(ErrorCode::ALL.map(|code| code.close().code));
    let close_reasons = closes.iter().map(|close| close.reason);
    let discord_errors = discord::close::ALL.map(|close| close.reason);
    KnownLabels {
        applications: settings.applications.iter().map(|it| it.id.clone()).collect(),
        close_codes: close_codes.collect(),
        endings: ENDINGS.into_iter().chain(PROBLEMS).chain(close_reasons).collect(),
        connections_refused: Denied::CODES.into(),
        upgrades_refused: accept::REFUSALS.into(),
        client_errors: [FAULT]
            .into_iter()
            .chain(accept::PROBLEMS)
            .chain(accept::REFUSALS)
            .chain(PROBLEMS)
            .chain(discord_errors)
            .collect(),
        packets_dropped: DROPS.into(),
        events_refused: PublishError::WORDS
            .into_iter()
            .chain(["invalid", "rate_limited"])
            .collect(),
        requests: vec!["reply", "refused", "timeout", "gone", "error", "invalid_reply"],
        resumes: RESUMES.into(),
        http_responses: http::public_endpoints()
            .iter()
            .flat_map(http::Endpoint::paths)
            .flat_map(|path| STATUSES.map(|status| (path.clone(), status.as_u16())))
            .collect(),
    }
}
