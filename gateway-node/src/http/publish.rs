//! `POST /api/v1/events`: publishes one event, or a list of events, all or none.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};
use shared::{
    client_type::{ClientType, ClientTypes},
    discord::{Header, Target, check_data},
    idempotency_key::IdempotencyKey,
    problem::{Problem, ProblemKind},
    routing::{Delivery, EventTable},
};

use super::{ApiError, HttpState, body::Body, object::Object};
use crate::{
    auth::Key,
    backplane::{
        Idempotency, Position, Publication, PublishError, Published, Publishing, TraceParent, WhenUnavailable,
        name_jobs,
    },
    config::{Permission, is_event_name},
};

/// Maximum events in one request.
const MAX_EVENTS: usize = 1000;

/// One event of a request.
#[derive(Deserialize)]
pub(super) struct PublishBody<'a> {
    t: String,
    /// `None` if `d` is absent. A `null` is a value like any other.
    #[serde(borrow, default, deserialize_with = "some")]
    d: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
}

/// Deserialises a value, including `null`, which `Option` alone would turn into `None`.
fn some<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl HttpState {
    /// Reads the whole body of a request and charges it to the key.
    ///
    /// # Errors
    /// Those of [`Bodies::read`](super::Bodies::read), and 429 if the key has published its maximum of bytes.
    pub(super) async fn body(&self, request: &HttpRequest, payload: web::Payload, key: &Key) -> Result<Body, ApiError> {
        let body = self.bodies.read(request, payload, key).await?;
        self.charge_bytes(key, body.len())?;
        Ok(body)
    }
}

/// Publishes the events in the body. The 202 response gives their positions in the log, in the shape of the request:
/// one for one event, a list for a list.
pub(super) async fn publish(
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let key = api.authorise(&request, Permission::Publish)?;
    let body = api.body(&request, payload, &key).await?;
    let idempotency_key = idempotency_key(&request)?;
    let trace = trace_parent(&request).map(Box::new);
    let is_list = body.trim_ascii_start().first() == Some(&b'[');
    let malformed = |error: serde_json::Error| ApiError::Malformed(format!("the body is no event: {error}"));
    let parsed: Result<Vec<Object<PublishBody<'_>>>, _> = if is_list {
        serde_json::from_slice(&body)
    } else {
        serde_json::from_slice(&body).map(|event| vec![event])
    };
    api.charge_events(&key, parsed.as_ref().map_or(1, |events| events.len().min(MAX_EVENTS)))?;
    let events = parsed.map_err(malformed)?;
    if events.is_empty() {
        return Err(ApiError::Malformed("the list holds no event".to_owned()));
    }
    if events.len() > MAX_EVENTS {
        return Err(ApiError::TooLarge(format!(
            "a request may hold {MAX_EVENTS} events, whatever the settings"
        )));
    }
    let table = api.app.events.current();
    let mut publications = events
        .iter()
        .enumerate()
        .map(|(index, Object(event))| {
            let refused = |error| if is_list { at(error, index) } else { error };
            let publication = event.publication(&key, &table, api.event_bytes).map_err(refused)?;
            Ok(Publication {
                trace: trace.clone(),
                ..publication
            })
        })
        .collect::<Result<Vec<_>, ApiError>>()
        .inspect_err(|_| api.app.metrics.event_refused("invalid"))?;
    let idempotency = idempotency_key.map(|name| Idempotency::new(key.id(), &name, &publications));
    name_jobs(key.application(), &mut publications, idempotency.as_ref()).map_err(|error| {
        log::error!("no random bits for the name of a job: {error}");
        ApiError::Internal
    })?;
    let jobs: Vec<_> = publications
        .iter()
        .map(|event| event.job.as_ref().map(|job| job.id))
        .collect();
    let traced = trace.map(|trace| TracedEvents::new(*trace, &publications));
    let answer = api.app.backplane.publish(Publishing {
        application: Arc::clone(key.application()),
        events: publications,
        idempotency,
        when_unavailable: WhenUnavailable::Fail,
    });
    match answer.await {
        Ok(positions) => {
            if let Some(traced) = traced {
                traced.log_accepted(&key, &positions);
            }
            let published = positions.into_iter().zip(jobs);
            let published: Vec<_> = published.map(|(position, job)| Published::new(position, job)).collect();
            Ok(if is_list {
                HttpResponse::Accepted().json(published)
            } else {
                HttpResponse::Accepted().json(published.first())
            })
        }
        Err(error) => Err(match error {
            PublishError::NoReceiver { index } if is_list => at(refusal(&api, &error), index),
            _ => refusal(&api, &error),
        }),
    }
}

/// The events of a request with a `traceparent`.
struct TracedEvents {
    trace: TraceParent,
    /// The name of each event, and whether it is a job.
    events: Vec<(Arc<str>, bool)>,
}

impl TracedEvents {
    fn new(trace: TraceParent, events: &[Publication]) -> Self {
        let events = events
            .iter()
            .map(|event| (Arc::clone(&event.name), event.job.is_some()));
        Self {
            trace,
            events: events.collect(),
        }
    }

    /// Writes a log line for each event. A job has a position only once it is delivered.
    fn log_accepted(&self, key: &Key, positions: &[Position]) {
        for ((event, is_job), position) in self.events.iter().zip(positions) {
            let position = (!is_job).then(|| position.to_string());
            log::debug!(
                event:% = event, application:% = key.application(), position = position.as_deref(), key = key.id(),
                traceparent:% = self.trace;
                "event accepted"
            );
        }
    }
}

/// Converts a failed publication into the error for the request, and counts it.
pub(super) fn refusal(api: &HttpState, error: &PublishError) -> ApiError {
    api.app.metrics.event_refused(error.word());
    match error {
        PublishError::NoReceiver { .. } => ApiError::NoReceiver("No receiver.".to_owned()),
        PublishError::Overloaded => ApiError::Overloaded,
        PublishError::TooManyJobs { .. } => ApiError::TooManyJobs,
        PublishError::Unavailable | PublishError::Expired => ApiError::Unavailable(api.app.backplane.status().problem),
        PublishError::Refused { cause } => ApiError::Unavailable(Some(cause.to_string())),
        PublishError::Unknown => ApiError::Unknown,
        PublishError::KeyReused => ApiError::KeyReused,
        PublishError::TooManyKeys { retry_after } => ApiError::TooManyKeys(*retry_after),
    }
}

/// Returns the trace that the request belongs to. An invalid header is ignored, as the recommendation demands.
pub(super) fn trace_parent(request: &HttpRequest) -> Option<TraceParent> {
    let mut headers = request.headers().get_all("traceparent");
    let (header, others) = (headers.next()?, headers.next());
    others.is_none().then(|| header.to_str().ok()?.parse().ok())?
}

/// Returns the request's idempotency key, if it has one.
fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = IdempotencyKey::new(value.to_str().unwrap_or_default());
    key.map(Some)
        .map_err(|error| ApiError::Malformed(format!("Idempotency-Key {error}")))
}

impl PublishBody<'_> {
    /// Builds the publication, if the key may send the event and the event is valid.
    fn publication(&self, key: &Key, table: &EventTable, event_bytes: usize) -> Result<Publication, ApiError> {
        if self.d.is_some_and(|d| d.get().len() > event_bytes) {
            return Err(ApiError::event_too_large("`d` of an event", event_bytes));
        }
        let Some(to) = self.to else {
            return self.event(key, table);
        };
        let header = Arc::new(self.header(to)?);
        // An event that is in the table also goes to version 1 sessions.
        let routed = table.has(&self.t).then(|| self.event(key, table)).transpose()?;
        let publication = routed.unwrap_or_else(|| Publication {
            name: self.t.as_str().into(),
            receivers: ClientTypes::NONE,
            delivery: Delivery::All,
            author: None,
            require_receiver: false,
            user: None,
            to_tickets: false,
            trace: None,
            request: None,
            job: None,
            discord: None,
            d: self.d.map_or("{}", RawValue::get).into(),
        });
        Ok(Publication {
            discord: Some(header),
            ..publication
        })
    }

    /// Builds the header that selects the receivers of Discord's protocol.
    fn header(&self, to: &RawValue) -> Result<Header, ApiError> {
        if !is_event_name(&self.t) {
            return Err(ApiError::InvalidData(
                "`t` must have 1 to 128 printable ASCII characters without a space".to_owned(),
            ));
        }
        let invalid = |error: &dyn std::fmt::Display| ApiError::InvalidData(error.to_string());
        let to: Value = serde_json::from_str(to.get()).map_err(|error| invalid(&error))?;
        let (target, guild) = Target::parse(&to).map_err(|error| invalid(&error))?;
        if let Some(d) = self.d {
            check_data(d).map_err(|error| invalid(&error))?;
        }
        Ok(Header::of(&self.t, self.d.map_or("{}", RawValue::get), target, guild))
    }

    /// Builds a request, and says how long to wait for the reply.
    pub(super) fn request(
        &self,
        key: &Key,
        table: &EventTable,
        event_bytes: usize,
    ) -> Result<(Publication, Duration), ApiError> {
        if self.d.is_some_and(|d| d.get().len() > event_bytes) {
            return Err(ApiError::event_too_large("`d` of a request", event_bytes));
        }
        if self.to.is_some() {
            let message = "`to` is for Discord sessions, which get no requests";
            return Err(ApiError::InvalidData(message.to_owned()));
        }
        match self.routed(key, table)? {
            (event, Some(timeout)) => Ok((event, timeout)),
            (_, None) => Err(ApiError::InvalidData(format!(
                "{} is no request, send it to POST /api/v1/events",
                self.t
            ))),
        }
    }

    /// Builds the publication of an event that the table routes.
    fn event(&self, key: &Key, table: &EventTable) -> Result<Publication, ApiError> {
        match self.routed(key, table)? {
            (event, None) => Ok(event),
            (_, Some(_)) => Err(ApiError::InvalidData(format!(
                "{} is a request, send it to POST /api/v1/requests",
                self.t
            ))),
        }
    }

    /// Builds what the table routes. Also says how long to wait for a reply, if it is a request.
    fn routed(&self, key: &Key, table: &EventTable) -> Result<(Publication, Option<Duration>), ApiError> {
        // A key for several types may send as any of them. A service is tried first, as the usual sender over HTTP.
        let kinds = [ClientType::Service, ClientType::Website, ClientType::Bot];
        let mut refused = ApiError::NotAllowed("the key is for no client type".to_owned());
        for kind in kinds.into_iter().filter(|kind| key.is_for(*kind)) {
            match table.route(&self.t, kind, self.d) {
                Ok(route) => {
                    let d = self.d.map_or("{}", RawValue::get);
                    let reply_timeout = route.reply_timeout;
                    return Ok((Publication::routed(route, d, None), reply_timeout));
                }
                Err(problems) if problems.iter().any(|problem| problem.kind == ProblemKind::NotAllowed) => {
                    refused = ApiError::NotAllowed(sentence(&problems));
                }
                Err(problems) if problems.iter().any(|problem| problem.kind == ProblemKind::UnknownEvent) => {
                    return Err(ApiError::UnknownEvent(sentence(&problems)));
                }
                Err(problems) => return Err(ApiError::InvalidData(sentence(&problems))),
            }
        }
        Err(refused)
    }
}

/// Joins all problems into one text.
fn sentence(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| &*problem.error)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Prefixes an error with the index of the event in the list.
fn at(error: ApiError, index: usize) -> ApiError {
    let place = |message: String| format!("event {index}: {message}");
    match error {
        ApiError::NotAllowed(message) => ApiError::NotAllowed(place(message)),
        ApiError::TooLarge(message) => ApiError::TooLarge(place(message)),
        ApiError::UnknownEvent(message) => ApiError::UnknownEvent(place(message)),
        ApiError::InvalidData(message) => ApiError::InvalidData(place(message)),
        ApiError::NoReceiver(message) => ApiError::NoReceiver(place(message)),
        other => other,
    }
}
