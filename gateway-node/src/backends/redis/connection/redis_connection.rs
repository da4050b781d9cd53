//! The connection for commands. It is checked when it is made, and discarded as a whole when anything about it fails.
//!
//! Nothing in this module reconnects or repeats a command. Tasks that use a connection end with it, and start again on
//! the next one.

use std::sync::Arc;

use redis::{Cmd, Pipeline, ServerError, Value};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    open_connection::OpenConnection,
    problem::{RedisProblem, is_refusal},
    server_info::ServerInfo,
};
use crate::{
    backends::redis::scripts::{Script, Scripts},
    metrics::Metrics,
};

/// A checked connection to the server. Clones share it.
#[derive(Clone)]
pub(in crate::backends::redis) struct RedisConnection {
    open: OpenConnection,
    address: Arc<str>,
    scripts: Arc<Scripts>,
    metrics: Arc<Metrics>,
    /// The run id of the server. It cannot change during the connection, since a connection is to one process.
    pub(in crate::backends::redis) run_id: Arc<str>,
    /// The server's version.
    pub(in crate::backends::redis) version: Arc<str>,
    since: Instant,
}

/// The reply to one command: its fields, or the reason why the server refused it without changing anything.
pub(in crate::backends::redis) type ReplyResult = Result<ReplyFields, RedisProblem>;

impl RedisConnection {
    /// Checks the server, and loads the scripts.
    pub(super) async fn check(
        open: OpenConnection,
        address: &str,
        scripts: &Arc<Scripts>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, RedisProblem> {
        let problem = |error| RedisProblem::of(address, &error);
        let mut commands = open.commands.clone();
        let info: String = redis::cmd("INFO").query_async(&mut commands).await.map_err(problem)?;
        let info = ServerInfo::check(address, &info)?;
        let mut load = redis::pipe();
        for script in Scripts::load() {
            load.add_command(script).ignore();
        }
        load.query_async::<()>(&mut commands).await.map_err(problem)?;
        Ok(Self {
            open,
            address: address.into(),
            scripts: Arc::clone(scripts),
            metrics: Arc::clone(metrics),
            run_id: info.run.into(),
            version: info.version.into(),
            since: Instant::now(),
        })
    }

    /// Starts a call of a script.
    pub(in crate::backends::redis) fn script(&self, script: Script, key: &str) -> Cmd {
        self.scripts.call(script, key)
    }

    /// Runs commands in one round trip, in order, each independent of the others. A connection error, or an error that
    /// leaves open what the command has changed, ends the connection.
    pub(in crate::backends::redis) async fn run(
        &self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<ReplyResult>, RedisProblem> {
        let mut pipeline = Pipeline::new();
        let mut called = SmallVec::<[&'static str; 8]>::new();
        for command in commands {
            called.extend(self.scripts.name_of(&command));
            pipeline.add_command(command);
        }
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut commands = self.open.commands.clone();
        let sent = Instant::now();
        let values = commands.send_packed_commands(&pipeline, 0, count).await;
        let took = sent.elapsed();
        for script in called {
            self.metrics.redis.called(script, took);
        }
        let values = values.map_err(|error| RedisProblem::of(&self.address, &error))?;
        values
            .into_iter()
            .map(|value| match value {
                Value::ServerError(error) => {
                    let problem = RedisProblem::of_answer(&self.address, &error);
                    if is_refusal(&error) {
                        Ok(Err(problem))
                    } else {
                        Err(problem)
                    }
                }
                value => Ok(Ok(ReplyFields::new(value))),
            })
            .collect()
    }

    /// Runs one command, any error of which ends the connection.
    pub(in crate::backends::redis) async fn query(&self, command: Cmd) -> Result<ReplyFields, RedisProblem> {
        let answer = self.run([command]).await?.pop();
        match answer {
            Some(answer) => answer,
            None => Err(self.nonsense("no answer")),
        }
    }

    /// Checks the server again, since its configuration can be changed while it runs.
    pub(in crate::backends::redis) async fn check_again(&self) -> Result<(), RedisProblem> {
        let info = self.query(redis::cmd("INFO")).await?;
        ServerInfo::check(&self.address, info.word(0)).map(drop)
    }

    /// When the connection was made.
    pub(in crate::backends::redis) const fn since(&self) -> Instant {
        self.since
    }

    /// Waits until the connection is lost.
    pub(in crate::backends::redis) async fn disconnected(&self) -> RedisProblem {
        // The sender is dropped only with the connection.
        let mut is_disconnected = self.open.is_disconnected.clone();
        let _ = is_disconnected.wait_for(|is_disconnected| *is_disconnected).await;
        RedisProblem::Unreachable {
            address: self.address.to_string(),
            cause: "the connection was cut".to_owned(),
        }
    }

    /// Converts an error reply to a [`RedisProblem`].
    pub(in crate::backends::redis) fn refusal(&self, error: &ServerError) -> RedisProblem {
        RedisProblem::of_answer(&self.address, error)
    }

    /// Converts the text of an error that a script has caught and returned to a [`RedisProblem`].
    pub(in crate::backends::redis) fn script_error(&self, text: &str) -> RedisProblem {
        RedisProblem::of_script(&self.address, text)
    }

    /// The problem for a reply that no version of a script gives.
    pub(in crate::backends::redis) fn nonsense(&self, what: &str) -> RedisProblem {
        RedisProblem::ReplyResult {
            address: self.address.to_string(),
            cause: format!("nonsense: {what}"),
        }
    }

    /// The problem for a node whose name is registered by another process.
    pub(in crate::backends::redis) fn fenced(&self) -> RedisProblem {
        RedisProblem::Fenced {
            address: self.address.to_string(),
        }
    }
}

/// The fields of a reply.
#[derive(Debug)]
pub(in crate::backends::redis) struct ReplyFields(Vec<Value>);

impl ReplyFields {
    fn new(value: Value) -> Self {
        Self(match value {
            Value::Array(values) | Value::Set(values) => values,
            Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
            Value::Nil => Vec::new(),
            value => vec![value],
        })
    }

    /// The field at this index, or an empty string.
    pub(in crate::backends::redis) fn word(&self, place: usize) -> &str {
        self.0.get(place).and_then(text).unwrap_or_default()
    }

    /// The number at this index, or 0.
    pub(in crate::backends::redis) fn number(&self, place: usize) -> u64 {
        match self.0.get(place) {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => self.word(place).parse().unwrap_or(0),
        }
    }

    /// The fields from this index on.
    pub(in crate::backends::redis) fn rest(&self, place: usize) -> impl Iterator<Item = &str> {
        self.0.iter().skip(place).filter_map(text)
    }

    /// Pairs of name and value. Invalid UTF-8 is replaced, so that no pair is lost.
    pub(in crate::backends::redis) fn pairs(self) -> impl Iterator<Item = (String, String)> {
        let mut fields = self.0.into_iter().map(|word| match word {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            word => text(&word).unwrap_or_default().to_owned(),
        });
        std::iter::from_fn(move || fields.next().zip(fields.next()))
    }

    /// The first error in the replies of a transaction.
    pub(in crate::backends::redis) fn error(&self) -> Option<&ServerError> {
        self.0.iter().find_map(|word| match word {
            Value::ServerError(error) => Some(error),
            _ => None,
        })
    }

    /// The entries of a stream: the id of each, and the value of its only field.
    pub(in crate::backends::redis) fn entries(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.0.into_iter().filter_map(|entry| {
            let Value::Array(entry) = entry else { return None };
            let [id, fields]: [Value; 2] = entry.try_into().ok()?;
            let Value::Array(mut fields) = fields else { return None };
            match fields.pop() {
                Some(Value::BulkString(body)) => Some((text(&id)?.to_owned(), body)),
                _ => None,
            }
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}
