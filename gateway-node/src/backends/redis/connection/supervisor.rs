//! Connects to the server again and again, and runs all tasks on each connection.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use shared::session_id::SessionId;
use tokio::{sync::Notify, time::Instant};

use super::{problem::RedisProblem, reconnect_backoff, redis_connection::RedisConnection};
use crate::backends::redis::{
    application::RedisApplication,
    command_calls, guilds, jobs, keys,
    log::{publish_call::PublishBounds, publisher::Publisher},
    membership::{Reconciler, maintenance::Maintenance, peers},
    replies,
    scripts::{Script, millis},
    sessions::{flush, presence_publisher},
    shared::RedisShared,
    tickets,
};

/// How often the publish queue is checked for events that have waited too long.
const EXPIRY: Duration = Duration::from_millis(100);
/// How many names a node tries on one connection, each after it was reaped under the one before.
const NAMES: usize = 8;

pub(in crate::backends::redis) struct ConnectionSupervisor {
    shared: Arc<RedisShared>,
    publisher: Publisher,
    fence: u64,
    /// The run id of the server of the last connection.
    run: Option<Arc<str>>,
}

impl ConnectionSupervisor {
    pub(in crate::backends::redis) fn new(shared: Arc<RedisShared>) -> Self {
        let (queue, deliver) = (Arc::clone(&shared.queue), Arc::clone(&shared.deliver));
        Self {
            publisher: Publisher::new(
                queue,
                deliver,
                PublishBounds {
                    log: shared.bounds,
                    idempotency_keys: shared.options.idempotency_keys,
                    jobs: shared.options.jobs,
                    lease: shared.options.lease,
                },
            ),
            shared,
            fence: 0,
            run: None,
        }
    }

    /// Runs until the node stops.
    pub(in crate::backends::redis) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let expiring = async {
            let mut ticks = tokio::time::interval(EXPIRY);
            loop {
                ticks.tick().await;
                shared.queue.expire(Instant::now());
                shared.record_healthy();
            }
        };
        tokio::select! {
            () = expiring => {}
            () = self.connect_forever() => {}
        }
    }

    async fn connect_forever(&mut self) {
        let mut backoff = reconnect_backoff();
        loop {
            match self.shared.server.connection().await {
                Ok(connection) => {
                    let problem = Box::pin(self.serve(&connection)).await;
                    self.shared.record_problem(&problem);
                    self.shared.set_disconnected();
                    if connection.since().elapsed() > Duration::from_secs(5) {
                        backoff.reset();
                    }
                }
                Err(problem) => self.shared.record_problem(&problem),
            }
            tokio::time::sleep(backoff.next(crate::random::fraction())).await;
        }
    }

    /// Runs all tasks on a connection until it ends. Returns the reason.
    async fn serve(&mut self, connection: &RedisConnection) -> RedisProblem {
        let opened = tokio::select! {
            opened = self.open(connection) => opened,
            problem = connection.disconnected() => Err(problem),
        };
        if let Err(problem) = opened {
            return problem;
        }
        let shared = &self.shared;
        shared.set_connected(connection);
        let maintenance = &Maintenance { shared, connection };
        let reconcilers: Vec<_> = shared
            .applications
            .values()
            .map(|application| Reconciler {
                application,
                connection,
                lease: &shared.lease,
                deliver: &*shared.deliver,
                bounds: shared.bounds,
            })
            .collect();
        if reconcilers.is_empty() {
            return connection.disconnected().await;
        }
        let ending = Notify::new();
        let mut publishing = self.publisher.run(connection, &ending).boxed();
        // Each is polled only when it is woken itself: every publication wakes the publisher.
        let mut others = FuturesUnordered::from_iter([
            connection.disconnected().boxed(),
            maintenance.lease().boxed(),
            maintenance.keep_registered().boxed(),
            maintenance.reap().boxed(),
            maintenance.check().boxed(),
            maintenance.expire().boxed(),
            peers::follow(shared, connection).boxed(),
            flush::flush(shared, connection).boxed(),
            replies::send(shared, connection).boxed(),
            command_calls::confirm(shared, connection).boxed(),
            guilds::fold(shared, connection).boxed(),
            presence_publisher::publish_pending(shared, connection).boxed(),
            keys::follow(shared, connection, &shared.keys).boxed(),
            tickets::follow(shared, connection).boxed(),
        ]);
        for application in shared.applications.values() {
            others.push(maintenance.tell_counts(application).boxed());
            others.push(jobs::check(shared, application, connection).boxed());
        }
        others.extend(reconcilers.iter().map(|reconciler| reconciler.run().boxed()));
        let problem = tokio::select! {
            problem = &mut publishing => return problem,
            Some(problem) = others.next() => problem,
        };
        drop(others);
        if !problem.is_cut() {
            // The batch under way is still answered, so its callers need not wait for the next connection.
            ending.notify_one();
            publishing.await;
        }
        problem
    }

    /// Registers the node under a higher fence, so that commands of older connections are refused, and resolves their
    /// unanswered publications.
    async fn open(&mut self, connection: &RedisConnection) -> Result<(), RedisProblem> {
        self.fence += 1;
        let is_new_life = self.run.as_ref() != Some(&connection.run_id);
        for application in self.shared.applications.values() {
            let is_reaped = register(&self.shared, application, connection, self.fence).await?;
            application.members.begin_link(is_new_life, is_reaped);
            if is_new_life && !is_reaped {
                let mut query = redis::cmd("SMEMBERS");
                query.arg(application.key(format_args!("node:{}", application.registration().owner)));
                let known = connection.query(query).await?;
                let ids = known.rest(0).filter_map(|id| id.parse().ok()).map(SessionId::from_raw);
                application.members.compare(ids);
            }
        }
        self.run = Some(Arc::clone(&connection.run_id));
        self.publisher.resolve(connection).await?;
        Maintenance {
            shared: &self.shared,
            connection,
        }
        .look()
        .await
    }
}

/// Registers the node with one application, under a new name if it was reaped. Returns whether it was.
async fn register(
    shared: &RedisShared,
    application: &RedisApplication,
    connection: &RedisConnection,
    fence: u64,
) -> Result<bool, RedisProblem> {
    let mut is_reaped = false;
    for _ in 0..NAMES {
        let registration = application.registration();
        let sent = Instant::now();
        let mut call = connection.script(Script::Register, &application.key(""));
        call.arg(&*connection.run_id)
            .arg(format!("{:016x}", crate::random::token()))
            .arg(&*registration.owner)
            .arg(fence)
            .arg(millis(shared.options.lease))
            .arg(u8::from(registration.is_known))
            .arg(format!("{:016x}", crate::random::token()))
            .arg(shared.server.database);
        let fields = connection.query(call).await?;
        match fields.word(0) {
            "ok" => {
                application.set_identity(fields.word(1));
                application.registered(fence, sent, shared.options.lease);
                return Ok(is_reaped);
            }
            "fenced" => {
                is_reaped = true;
                application.rename(shared.options.incarnation);
            }
            _ => return Err(connection.fenced()),
        }
    }
    Err(connection.fenced())
}

impl RedisShared {
    /// Records that the connection is up.
    fn set_connected(&self, connection: &RedisConnection) {
        let mut condition = self.condition.lock();
        if let Some(problem) = condition.problem.take() {
            log::info!(version = connection.version; "redis is available again, after: {problem}");
        } else {
            log::info!(version = connection.version; "connected to redis at {}", self.server.address);
        }
        drop(condition);
        self.deliver.connected();
        self.connection.send_replace(Some(connection.clone()));
        self.queue.set_open(true);
        self.receivers_changed.notify_one();
    }

    /// Records that the connection has ended.
    fn set_disconnected(&self) {
        self.queue.set_open(false);
        self.connection.send_replace(None);
        *self.peers.lock() = None;
        for application in self.applications.values() {
            application.members.end_link();
        }
    }

    /// Logs a problem, once for as long as it lasts.
    fn record_problem(&self, problem: &RedisProblem) {
        self.options.metrics.redis.error(problem.kind());
        let mut condition = self.condition.lock();
        let line = problem.to_string();
        if condition.problem.as_ref() != Some(&line) {
            self.deliver.unavailable();
            log::error!("{line}");
            condition.problem = Some(line);
        }
    }

    /// Records the time if the node has a connection and a valid lease.
    fn record_healthy(&self) {
        let now = Instant::now();
        if self.connection.borrow().is_some() && self.lease.is_good(now) {
            self.condition.lock().well = Some(now);
        }
    }
}
