//! Sends requests, and decides their outcome.

use std::{future::Future, sync::Arc, time::Duration};

use shared::v1::{Receipt, ReplyFailure};
use tokio::time::{Instant, sleep_until};

use super::pending::PendingReplies;
use crate::{
    backplane::{Backplane, Publication, PublishError, Publishing, Request, WhenUnavailable},
    metrics::Metrics,
};

/// Sends the requests of this node's clients. Clones belong to the same node.
#[derive(Clone)]
pub struct Requests {
    pending: PendingReplies,
    backplane: Arc<dyn Backplane>,
    metrics: Arc<Metrics>,
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// No session has it.
    Refused(PublishError),
    /// It may have been carried out.
    Failed(ReplyFailure),
}

impl Requests {
    /// Creates the requests of a node. The replies come through `pending`.
    pub fn new(pending: PendingReplies, backplane: Arc<dyn Backplane>, metrics: Arc<Metrics>) -> Self {
        Self {
            pending,
            backplane,
            metrics,
        }
    }

    /// Publishes a request and returns the wait for its outcome, which ends after `timeout` at the latest. The request is
    /// queued before this returns, so requests and events of one caller keep their order.
    pub fn ask(
        &self,
        application: Arc<str>,
        event: Publication,
        timeout: Duration,
    ) -> impl Future<Output = Result<Arc<str>, RequestError>> + use<> {
        let deadline = Instant::now() + timeout;
        let Some(receipt) = new_receipt() else {
            let error = RequestError::Refused(PublishError::Unavailable);
            return futures_util::future::Either::Left(std::future::ready(Err(error)));
        };
        let mut pending = self.pending.expect(receipt);
        let request = Request {
            receipt,
            reply_to: self.backplane.reply_address(),
            timeout,
        };
        let mut published = self.backplane.publish(Publishing {
            application,
            events: vec![Publication {
                request: Some(Box::new(request)),
                ..event
            }],
            idempotency: None,
            when_unavailable: WhenUnavailable::Fail,
        });
        let counted = InFlight::new(&self.metrics);
        futures_util::future::Either::Right(async move {
            let mut is_published = false;
            let outcome = loop {
                tokio::select! {
                    biased;
                    reply = pending.wait() => break reply.map_err(RequestError::Failed),
                    result = &mut published, if !is_published => match result {
                        // If it is unknown whether the log has it, its receiver may still reply.
                        Ok(_) | Err(PublishError::Unknown) => is_published = true,
                        Err(error) => break Err(RequestError::Refused(error)),
                    },
                    () = sleep_until(deadline) => break Err(RequestError::Failed(ReplyFailure::Timeout)),
                }
            };
            counted.metrics.request_over(match &outcome {
                Ok(_) => "reply",
                Err(RequestError::Refused(_)) => "refused",
                Err(RequestError::Failed(failure)) => failure.code(),
            });
            outcome
        })
    }
}

/// Returns a receipt that nobody can guess, or `None` if the system has no randomness.
pub fn new_receipt() -> Option<Receipt> {
    let mut random = [0; 16];
    let filled = getrandom::fill(&mut random).map_err(|error| {
        log::error!("no random bits for a receipt: {error}");
    });
    filled.ok().map(|()| Receipt::from_raw(u128::from_be_bytes(random)))
}

/// Counts a request as one in flight while it exists.
struct InFlight {
    metrics: Arc<Metrics>,
}

impl InFlight {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.requests_in_flight.inc();
        Self {
            metrics: Arc::clone(metrics),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.requests_in_flight.dec();
    }
}
