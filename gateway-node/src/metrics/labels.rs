//! The labels of the families. Their values come from the code and from the configuration, never from peers.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

/// The label of a counter that is split by reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The reason, a literal in the code.
    pub reason: &'static str,
}

/// The label of the counter of ended sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndingLabel {
    /// The close code that the gateway sent, or 0 if the client left first.
    pub code: u16,
}

/// The label of the counter of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// The outcome, a literal in the code.
    pub outcome: &'static str,
}

/// The labels of the counter of HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The pattern of the path, from the table of routes.
    pub route: String,
    /// The status of the response.
    pub code: u16,
}

/// The label of a family that is split by application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApplicationLabel {
    /// The application, as configured.
    pub application: Arc<str>,
}

/// The label of a family that is split by the direction in which something goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabel {
    /// `in` from clients, `out` to them.
    pub direction: &'static str,
}

/// The label of the counter of resumes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// The result, a literal in the code.
    pub result: &'static str,
}

/// The label of a family that is split by Redis script.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScriptLabel {
    /// The name of the script's file, without its extension.
    pub script: &'static str,
}

/// The label of the expiries of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabel {
    /// `server` for that of the listener, `redis` for the one that the node shows to Redis.
    pub certificate: &'static str,
}

/// The labels of the evictions from replay buffers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReplayEvictionLabels {
    /// The application, as configured.
    pub application: Arc<str>,
    /// The limit that was reached, a literal in the code.
    pub reason: &'static str,
}

/// The label of the counts of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}
