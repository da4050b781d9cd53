//! Requests of commands to the HTTP API of a node.

use std::{io, process::ExitCode, time::Duration};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use ureq::{
    Body,
    http::{Request, Response},
};

use super::{
    connect::{KeyArgs, compact},
    http_client,
    target::{KeyUse, Target, TargetOptions},
};
use crate::config::Permission;

/// The exit codes of commands that look at a node or act on its sessions.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 no response, 2 refused, 64 invalid options.";

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node to ask, and the key to ask with.
#[derive(Debug, Clone, Default, Args)]
pub struct QueryArgs {
    /// The node.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Where the key comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// An option is invalid.
    #[error("{0}")]
    Usage(String),
    /// The node cannot be reached, or its response cannot be read.
    #[error("no response from {url}: {cause}")]
    NoAnswer { url: String, cause: String },
    /// The node refused, or a request has no reply. `error` is the error with which its receiver replied.
    #[error("refused: HTTP {status} {code}: {message}{}", error.as_deref().map_or_else(String::new, |error| format!(" {error}")))]
    Refused {
        status: u16,
        code: String,
        message: String,
        error: Option<String>,
    },
    /// The key is good, but not for what the options ask.
    #[error("{0}")]
    Lacking(String),
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl QueryError {
    /// Returns the exit code of the command.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(64),
            Self::Refused { .. } | Self::Lacking(_) => ExitCode::from(2),
            // The reader has stopped on purpose, as in `sessions | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::NoAnswer { .. } | Self::Output(_) => ExitCode::from(1),
        }
    }

    /// Returns the refusal that a response with this status and body is.
    pub(super) fn refusal(status: u16, body: &str) -> Self {
        #[derive(Deserialize)]
        struct RefusalBody {
            code: String,
            message: String,
            error: Option<Box<RawValue>>,
        }

        let RefusalBody { code, message, error } = serde_json::from_str(body).unwrap_or_else(|_| RefusalBody {
            // The response is not from a node, but for example from a load balancer.
            code: "without a code".to_owned(),
            message: body.trim().chars().take(300).collect(),
            error: None,
        });
        Self::Refused {
            status,
            code,
            message,
            error: error.map(|error| compact(error.get())),
        }
    }
}

/// A node, and a key for its HTTP API.
pub(super) struct Query {
    target: Target,
    key: SecretString,
    patience: Duration,
}

impl Query {
    /// Finds the node and a key, from a configuration one with this permission.
    pub(super) fn new(
        args: &QueryArgs,
        permission: Permission,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, QueryError> {
        let usage = |error: String| QueryError::Usage(error);
        let target = args
            .target
            .target(false, environment)
            .map_err(|error| usage(error.to_string()))?;
        http_client::check_url(&target.url).map_err(|error| usage(error.to_string()))?;
        let configured = target.key(KeyUse::Request(permission));
        let key = args.key.load(configured).map_err(|error| usage(error.to_string()))?;
        Ok(Self {
            target,
            key,
            patience: PATIENCE,
        })
    }

    /// Waits up to `patience` for each response.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends `GET path` and returns the body.
    pub(super) fn get(&self, path: &str) -> Result<String, QueryError> {
        self.request(Request::get(self.url(path)), ())
    }

    /// Sends `DELETE path`.
    pub(super) fn delete(&self, path: &str) -> Result<(), QueryError> {
        self.request(Request::delete(self.url(path)), ()).map(drop)
    }

    /// Sends `POST path` with a JSON body. Returns the body of a response with the status `expected`.
    pub(super) fn post(&self, path: &str, body: String, expected: u16) -> Result<String, QueryError> {
        let request = Request::post(self.url(path)).header("content-type", "application/json");
        match self.send(request, body)? {
            (status, body) if status == expected => Ok(body),
            (status, body) => Err(QueryError::refusal(status, &body)),
        }
    }

    /// Parses the body of a response.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, QueryError> {
        serde_json::from_str(body).map_err(|error| self.no_answer(&error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target.url.trim_end_matches('/'))
    }

    fn request(
        &self,
        request: ureq::http::request::Builder,
        body: impl ureq::AsSendBody,
    ) -> Result<String, QueryError> {
        match self.send(request, body)? {
            (200..=299, body) => Ok(body),
            (status, body) => Err(QueryError::refusal(status, &body)),
        }
    }

    fn send(
        &self,
        request: ureq::http::request::Builder,
        body: impl ureq::AsSendBody,
    ) -> Result<(u16, String), QueryError> {
        let bearer = format!("Bearer {}", self.key.expose_secret());
        let request = request.header("authorization", bearer).body(body);
        let request = request.map_err(|error| self.no_answer(&error))?;
        let agent = http_client::agent(&self.target, self.patience);
        let mut response: Response<Body> = agent.run(request).map_err(|error| self.no_answer(&error))?;
        let body = http_client::body(&mut response).map_err(|error| self.no_answer(&error))?;
        Ok((response.status().as_u16(), body))
    }

    fn no_answer(&self, cause: &dyn std::error::Error) -> QueryError {
        QueryError::NoAnswer {
            url: self.target.url.clone(),
            cause: cause.to_string(),
        }
    }
}
