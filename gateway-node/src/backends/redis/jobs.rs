//! The jobs in Redis, shared by all nodes. Their state is in the server, and changed only by scripts; any node takes back
//! jobs whose workers took too long.

use std::{sync::Arc, time::Duration};

use redis::Cmd;
use shared::job::{JobDelivery, JobId};
use tokio::time::sleep;

use super::{
    application::RedisApplication,
    bounded_query::bounded_query,
    connection::{
        problem::RedisProblem,
        redis_connection::{RedisConnection, ReplyFields},
    },
    log::wire::NONE,
    scripts::{Script, millis},
    shared::RedisShared,
};
use crate::backplane::{JobRecord, JobState, Jobs, LISTED_BYTES, Pending, Settlement, Unavailable};

/// How often deadlines are checked.
const CHECK: Duration = Duration::from_secs(1);
/// How many values a listed job has.
const FIELDS: usize = 6;

/// The jobs in Redis.
pub struct RedisJobs {
    shared: Arc<RedisShared>,
}

type Reply = Pending<ReplyFields, Unavailable>;

impl RedisJobs {
    pub(super) const fn new(shared: Arc<RedisShared>) -> Self {
        Self { shared }
    }

    /// Runs a call that `make` builds.
    fn call(&self, application: &str, make: impl FnOnce(&RedisApplication, &RedisConnection) -> Cmd) -> Reply {
        let connection = self.shared.connection.borrow().clone();
        let (Some(connection), Some(application)) = (connection, self.shared.applications.get(application)) else {
            return Box::pin(std::future::ready(Err(Unavailable)));
        };
        let call = make(application, &connection);
        Box::pin(async move {
            let fields = bounded_query(connection, call).await?;
            if fields.word(0) == "fenced" {
                return Err(Unavailable);
            }
            Ok(fields)
        })
    }

    /// Starts a call of a script that may append to the log.
    fn script(&self, application: &RedisApplication, connection: &RedisConnection, script: Script) -> Cmd {
        let mut call = application.call_log(connection, script);
        self.shared.bounds.add_to(&mut call);
        call
    }

    fn change(&self, application: &str, id: JobId, change: &str) -> Pending<bool, Unavailable> {
        let reply = self.call(application, |application, connection| {
            let mut call = self.script(application, connection, Script::JobChange);
            call.arg(id.to_string()).arg(change);
            call
        });
        Box::pin(async move { Ok(reply.await?.word(0) == "ok") })
    }
}

impl Jobs for RedisJobs {
    fn settle(
        &self,
        application: &str,
        key: &Arc<str>,
        delivery: JobDelivery,
        settlement: Settlement,
    ) -> Pending<bool, Unavailable> {
        let retry = self.shared.options.jobs.retry;
        let reply = self.call(application, |application, connection| {
            let mut call = self.script(application, connection, Script::JobSettle);
            call.arg(&**key).arg(delivery.job.to_string()).arg(delivery.number);
            match settlement {
                Settlement::Ack => call.arg("ack"),
                Settlement::Nack { delay } => call.arg(millis(delay.unwrap_or(retry))),
            };
            call
        });
        Box::pin(async move { Ok(reply.await?.word(0) == "ok") })
    }

    fn list(&self, application: &str, state: Option<JobState>, limit: usize) -> Pending<Vec<JobRecord>, Unavailable> {
        let reply = self.call(application, |application, connection| {
            let mut call = connection.script(Script::JobList, &application.key(""));
            call.arg(state.map_or(NONE, JobState::as_str))
                .arg(limit)
                .arg(LISTED_BYTES);
            call
        });
        Box::pin(async move {
            let fields = reply.await?;
            let values: Vec<_> = fields.rest(0).collect();
            Ok(values.chunks_exact(FIELDS).filter_map(record).collect())
        })
    }

    fn remove(&self, application: &str, id: JobId) -> Pending<bool, Unavailable> {
        self.change(application, id, "remove")
    }

    fn retry(&self, application: &str, id: JobId) -> Pending<bool, Unavailable> {
        self.change(application, id, "retry")
    }
}

fn record(fields: &[&str]) -> Option<JobRecord> {
    let [id, name, d, state, attempts, at] = fields else {
        return None;
    };
    Some(JobRecord {
        id: id.parse().ok()?,
        name: (*name).into(),
        d: (*d).into(),
        state: JobState::parse(state)?,
        attempts: attempts.parse().ok()?,
        at: at.parse().ok()?,
    })
}

/// Checks the jobs of an application each second, and when a worker has ended, until the connection ends.
pub(super) async fn check(
    shared: &RedisShared,
    application: &RedisApplication,
    connection: &RedisConnection,
) -> RedisProblem {
    loop {
        let mut call = application.call_log(connection, Script::Jobs);
        shared.bounds.add_to(&mut call);
        call.arg(millis(shared.options.jobs.kept));
        let fields = match connection.query(call).await {
            Ok(fields) if fields.word(0) == "fenced" => return connection.fenced(),
            Ok(fields) => fields,
            Err(problem) => return problem,
        };
        for news in fields.rest(1) {
            if let Some((id, name)) = news.split_once(' ')
                && let Ok(id) = id.parse()
            {
                shared.deliver.undeliverable(&application.name, id, name);
            }
        }
        if fields.word(0) == "more" {
            continue;
        }
        tokio::select! {
            () = sleep(CHECK) => {}
            () = application.jobs_changed.notified() => {}
        }
    }
}
