//! The handles that every part of a node shares.

use std::sync::Arc;

use crate::{
    admission::Admission,
    applications::Applications,
    auth::Keyring,
    backplane::{Backplane, BackplaneStatus, Jobs, Tickets},
    client_error_log::ClientErrorLog,
    cluster_sessions::ClusterSessions,
    drain::DrainState,
    events::Events,
    hello_delay::HelloDelay,
    metrics::Metrics,
    public_url::PublicUrl,
    registry::Registry,
    requests::{RequestSlots, Requests},
    resume::DiscordSessions,
};

/// The handles that the node makes once and that its workers, its HTTP API and its sessions share. Clones are cheap and
/// refer to the same node.
#[derive(Clone)]
pub struct AppState {
    /// The sessions that are connected to this node.
    pub registry: Registry,
    /// The sessions that are connected to all nodes.
    pub cluster_sessions: ClusterSessions,
    /// The connection to the other nodes.
    pub backplane: Arc<dyn Backplane>,
    /// The requests of this node's clients.
    pub requests: Requests,
    /// The requests that keys have in flight over HTTP.
    pub request_slots: RequestSlots,
    /// The jobs of the applications.
    pub jobs: Arc<dyn Jobs>,
    /// The tickets with which web pages connect.
    pub tickets: Arc<dyn Tickets>,
    /// The resumable Discord sessions.
    pub discord: DiscordSessions,
    /// The applications, for Discord's protocol.
    pub applications: Applications,
    /// The valid keys.
    pub keyring: Keyring,
    /// The table of application events.
    pub events: Events,
    /// The URL at which clients connect.
    pub public_url: PublicUrl,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The limits of connections.
    pub admission: Admission,
    /// Whether the node is leaving.
    pub drain: DrainState,
    /// The log of what clients did wrong.
    pub client_errors: ClientErrorLog,
    /// The extra delay of Hello that an administrator asked for.
    pub hello_delay: HelloDelay,
}

impl AppState {
    /// Returns why the node should get no clients, on one line, or `None` if it should.
    pub fn unready(&self, backplane: &BackplaneStatus) -> Option<String> {
        if self.drain.is_draining() {
            return Some("draining".to_owned());
        }
        if !backplane.ready {
            let problem = backplane.problem.as_deref();
            return Some(problem.unwrap_or("the backplane is not ready").to_owned());
        }
        let is_complete = self.keyring.is_complete();
        (!is_complete).then(|| "the keys in redis have not been read yet".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use shared::job::{JobDelivery, JobId};

    use super::*;
    use crate::{
        admission::AdmissionLimits,
        backplane::{JobRecord, JobState, Pending, Settlement, Unavailable},
        config::Settings,
    };

    /// No jobs, for tests that have none.
    struct NoJobs;

    impl Jobs for NoJobs {
        fn settle(&self, _: &str, _: &Arc<str>, _: JobDelivery, _: Settlement) -> Pending<bool, Unavailable> {
            Box::pin(std::future::ready(Ok(false)))
        }

        fn list(&self, _: &str, _: Option<JobState>, _: usize) -> Pending<Vec<JobRecord>, Unavailable> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn remove(&self, _: &str, _: JobId) -> Pending<bool, Unavailable> {
            Box::pin(std::future::ready(Ok(false)))
        }

        fn retry(&self, _: &str, _: JobId) -> Pending<bool, Unavailable> {
            Box::pin(std::future::ready(Ok(false)))
        }
    }

    impl AppState {
        /// Creates the state of a node without sockets.
        pub(crate) fn for_tests(
            registry: Registry,
            backplane: Arc<dyn Backplane>,
            discord: DiscordSessions,
            keyring: Keyring,
            settings: &Settings,
            metrics: Arc<Metrics>,
        ) -> Self {
            Self {
                requests: Requests::new(registry.pending_replies(), Arc::clone(&backplane), Arc::clone(&metrics)),
                request_slots: RequestSlots::new(settings.limits.requests_in_flight),
                cluster_sessions: ClusterSessions::new(registry.clone(), Arc::clone(&backplane), "test".into()),
                registry,
                jobs: Arc::new(NoJobs),
                backplane,
                tickets: Arc::new(crate::backends::MemoryTickets::new(crate::backplane::TicketLimits {
                    unused: 100,
                    revocations_kept: std::time::Duration::from_secs(3600),
                })),
                discord,
                applications: Applications::new(&settings.applications),
                keyring,
                events: Events::new(settings.event_table().expect("a valid table")),
                public_url: PublicUrl::new(settings, &settings.server.bind),
                metrics,
                admission: Admission::new(AdmissionLimits::UNLIMITED),
                drain: DrainState::default(),
                client_errors: ClientErrorLog::default(),
                hello_delay: HelloDelay::default(),
            }
        }
    }
}
