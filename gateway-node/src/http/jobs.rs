//! `/api/v1/jobs`: lists the jobs of the key's application, removes them, and delivers them again.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::job::JobId;

use super::{ApiError, HttpState};
use crate::{
    backplane::{JobRecord, JobState},
    config::Permission,
};

/// How many jobs are listed if the request does not say.
const USUAL: usize = 100;
/// The most jobs that a request may ask for.
const MOST: usize = 1000;

/// The query of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobQuery {
    state: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct JobsBody {
    jobs: Vec<ListedJob>,
}

#[derive(Serialize)]
struct ListedJob {
    job: String,
    t: Arc<str>,
    d: Box<RawValue>,
    state: &'static str,
    attempts: u32,
    at: u64,
}

/// Returns up to `limit` jobs in a state, or in any.
pub(super) async fn list(
    request: HttpRequest,
    query: Result<web::Query<JobQuery>, actix_web::Error>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Read)?;
    let malformed = || {
        ApiError::Malformed(format!(
            "expected ?state=waiting|delivered|undeliverable&limit=N, both optional: 1 to {MOST} jobs"
        ))
    };
    let JobQuery { state, limit } = query.map_err(|_| malformed())?.into_inner();
    let state = state
        .map(|state| JobState::parse(&state).ok_or_else(malformed))
        .transpose()?;
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(malformed());
    }
    let jobs = api.app.jobs.list(key.application(), state, limit).await;
    let jobs = jobs.map_err(|_| ApiError::LogAway)?;
    let jobs = jobs.into_iter().map(listed).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(JobsBody { jobs }))
}

/// Removes a job, whatever its state.
pub(super) async fn remove(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let removed = api.app.jobs.remove(key.application(), parse(&id)?).await;
    answer(
        removed.map_err(|_| ApiError::LogAway)?,
        HttpResponse::NoContent().finish(),
    )
}

/// Delivers a job again, and counts its attempts from 1.
pub(super) async fn retry(
    request: HttpRequest,
    id: web::Path<String>,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Admin)?;
    let is_there = api.app.jobs.retry(key.application(), parse(&id)?).await;
    answer(
        is_there.map_err(|_| ApiError::LogAway)?,
        HttpResponse::Accepted().finish(),
    )
}

fn parse(id: &str) -> Result<JobId, ApiError> {
    id.parse().map_err(|_| ApiError::NoJob)
}

fn answer(is_there: bool, response: HttpResponse) -> Result<HttpResponse, ApiError> {
    if is_there { Ok(response) } else { Err(ApiError::NoJob) }
}

fn listed(job: JobRecord) -> Result<ListedJob, ApiError> {
    Ok(ListedJob {
        job: job.id.to_string(),
        t: job.name,
        d: RawValue::from_string(job.d.to_string()).map_err(|_| ApiError::Internal)?,
        state: job.state.as_str(),
        attempts: job.attempts,
        at: job.at,
    })
}
