//! The label values that are known before anything happens.

use std::{hash::Hash, sync::atomic::Ordering::Relaxed};

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{ApplicationLabel, EndingLabel, HttpLabels, Metrics, OutcomeLabel, ReasonLabel, ResultLabel};

/// The values of labels, by family. Counting begins at 0 for each, so that the first increase of a counter is seen as one.
#[derive(Debug, Clone, Default)]
pub struct KnownLabels {
    /// The applications.
    pub applications: Vec<String>,
    /// The close codes of sessions, besides 0.
    pub close_codes: Vec<u16>,
    /// Why sessions end.
    pub endings: Vec<&'static str>,
    /// Why connections are refused when they are accepted.
    pub connections_refused: Vec<&'static str>,
    /// Why requests for a WebSocket are refused.
    pub upgrades_refused: Vec<&'static str>,
    /// The errors of clients.
    pub client_errors: Vec<&'static str>,
    /// Why packets are dropped.
    pub packets_dropped: Vec<&'static str>,
    /// Why events are refused.
    pub events_refused: Vec<&'static str>,
    /// The outcomes of requests.
    pub requests: Vec<&'static str>,
    /// The results of resumes.
    pub resumes: Vec<&'static str>,
    /// The patterns of HTTP routes, and the statuses with which each is begun.
    pub http_responses: Vec<(String, u16)>,
}

impl Metrics {
    /// Begins counting at 0.
    pub fn begin(&self, known: &KnownLabels) {
        begin(
            &self.events_accepted,
            known.applications.iter().map(|application| ApplicationLabel {
                application: application.as_str().into(),
            }),
        );
        let codes = known.close_codes.iter().copied().chain([0]);
        begin(&self.sessions_ended, codes.map(|code| EndingLabel { code }));
        for (family, reasons) in [
            (&self.session_endings, &known.endings),
            (&self.connections_refused, &known.connections_refused),
            (&self.upgrades_refused, &known.upgrades_refused),
            (&self.client_errors, &known.client_errors),
            (&self.packets_dropped, &known.packets_dropped),
            (&self.events_refused, &known.events_refused),
        ] {
            begin(family, reasons.iter().map(|&reason| ReasonLabel { reason }));
        }
        begin(
            &self.requests,
            known.requests.iter().map(|&outcome| OutcomeLabel { outcome }),
        );
        begin(
            &self.resumes,
            known.resumes.iter().map(|&result| ResultLabel { result }),
        );
        let responses = known.http_responses.iter().cloned();
        begin(
            &self.http_responses,
            responses.map(|(route, code)| HttpLabels { route, code }),
        );
        self.is_begun.store(true, Relaxed);
    }
}

fn begin<L: Clone + Hash + Eq>(family: &Family<L, Counter>, labels: impl Iterator<Item = L>) {
    for label in labels {
        drop(family.get_or_create(&label));
    }
}
