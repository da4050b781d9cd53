//! Requests of commands that look at a node, or act on its sessions.

use std::{io, process::ExitCode, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    connect::KeyArgs,
    http_client,
    target::{KeyUse, Target, TargetOptions},
};
use crate::config::Permission;

/// Printed by `--help` after the options.
pub(super) const AFTER_HELP: &str = "Exit codes: 0 done, 1 no response, 2 refused, 64 invalid options.";

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// An option is invalid.
    #[error("{0}")]
    Usage(String),
    /// The node cannot be reached, or its response cannot be read.
    #[error("no response from {url}: {cause}")]
    NoAnswer { url: String, cause: String },
    /// The node refused.
    #[error("refused: HTTP {status} {code}: {message}")]
    Refused { status: u16, code: String, message: String },
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl QueryError {
    /// Returns the exit code of the command.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(64),
            Self::Refused { .. } => ExitCode::from(2),
            // The reader has stopped on purpose, as in `sessions | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::NoAnswer { .. } | Self::Output(_) => ExitCode::from(1),
        }
    }
}

/// A node, and a key for its HTTP API.
pub(super) struct Query {
    target: Target,
    key: SecretString,
}

impl Query {
    /// Finds the node and a key with this permission.
    pub(super) fn new(
        target: &TargetOptions,
        key: &KeyArgs,
        permission: Permission,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, QueryError> {
        let usage = |error: String| QueryError::Usage(error);
        let target = target
            .target(false, environment)
            .map_err(|error| usage(error.to_string()))?;
        http_client::check_url(&target.url).map_err(|error| usage(error.to_string()))?;
        let configured = target.key(KeyUse::Request(permission));
        let key = key.load(configured).map_err(|error| usage(error.to_string()))?;
        Ok(Self { target, key })
    }

    /// Sends `GET path` and returns the body.
    pub(super) fn get(&self, path: &str) -> Result<String, QueryError> {
        let request = http_client::agent(&self.target, PATIENCE).get(self.url(path));
        self.body(request.header("authorization", self.bearer()).call())
    }

    /// Sends `DELETE path`.
    pub(super) fn delete(&self, path: &str) -> Result<(), QueryError> {
        let request = http_client::agent(&self.target, PATIENCE).delete(self.url(path));
        self.body(request.header("authorization", self.bearer()).call())
            .map(drop)
    }

    /// Parses the body of a response.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, QueryError> {
        serde_json::from_str(body).map_err(|error| self.no_answer(&error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target.url.trim_end_matches('/'))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.expose_secret())
    }

    fn no_answer(&self, cause: &dyn std::error::Error) -> QueryError {
        QueryError::NoAnswer {
            url: self.target.url.clone(),
            cause: cause.to_string(),
        }
    }

    fn body(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, QueryError> {
        #[derive(Deserialize, Default)]
        struct RefusalBody {
            code: String,
            message: String,
        }
        let mut response = response.map_err(|error| self.no_answer(&error))?;
        let body = http_client::body(&mut response).map_err(|error| self.no_answer(&error))?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(body);
        }
        let RefusalBody { code, message } = serde_json::from_str(&body).unwrap_or_default();
        Err(QueryError::Refused { status, code, message })
    }
}
