//! The backplane of one node of a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use shared::{
    session_id::SessionId,
    v1::{Receipt, Report},
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    application::RedisApplication,
    cluster_commands::ClusterCommands,
    command_calls,
    connection::{problem::RedisProblem, server::RedisServer, supervisor::ConnectionSupervisor},
    jobs::RedisJobs,
    log::{bounds::LogBounds, channel, follower::Follower, pages, publish_queue::PublishQueue, subscriber::Subscriber},
    membership::{Members, lease::Lease, peers, reap_queue::ReapQueue},
    options::RedisOptions,
    reply_queue::ReplyQueue,
    scripts::Script,
    sessions::write_behind::WriteBehind,
    shared::{KeyRecords, RedisShared},
    tickets::RedisTickets,
    tls::RedisSetupError,
};
use crate::{
    backplane::{
        Audience, Backplane, BackplaneStatus, CommandReach, Deliver, Entry, JoinError, Joined, Joining, LogRange, Peer,
        Pending, Position, PublishError, Publishing, Reply, ReplyAddress, Revocations, Unavailable,
    },
    resume::PresenceQueue,
};

/// How long the server may be unavailable before the node reports itself not ready for clients.
const GRACE: Duration = Duration::from_secs(3);
/// The backplane of one node of a cluster.
pub struct RedisBackplane {
    pub(super) shared: Arc<RedisShared>,
}

impl RedisBackplane {
    /// Creates a backplane on the configured server, and the task that drives it while it is polled. The server need
    /// not be running yet.
    ///
    /// # Errors
    /// When the URL or a file for TLS cannot be used.
    pub fn new(
        options: RedisOptions,
        deliver: Arc<dyn Deliver>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), RedisSetupError> {
        let server = RedisServer::new(&options.url, &options.tls, Arc::clone(&options.metrics))?;
        options.metrics.redis.begin(&Script::NAMES, &RedisProblem::KINDS);
        let bounds = LogBounds {
            entries: options.log_entries,
            age: options.log_age,
            bytes: options.log_bytes,
        };
        let mut outlets = Vec::new();
        let applications = options.applications.iter().map(|name| {
            let (log_sender, log_receiver) = channel::channel(options.hold_bytes);
            let application = RedisApplication::new(Arc::clone(name), &options, log_sender);
            let application = Arc::new(application);
            outlets.push((Arc::clone(&application), log_receiver));
            (Arc::clone(name), application)
        });
        let applications: FxHashMap<_, _> = applications.collect();
        for name in applications.keys() {
            // Nothing is delivered until the starting position is known.
            deliver.reset(name, None);
        }
        // Origins are counted up from here, so the incarnation itself is not used.
        let origin = options.incarnation.rotate_left(32);
        let shared = Arc::new(RedisShared {
            server,
            bounds,
            applications,
            queue: Arc::new(PublishQueue::new(options.hold_bytes, options.hold, origin)),
            replies: ReplyQueue::new(options.hold_bytes, Arc::clone(&deliver)),
            reply_address: ReplyAddress::from_raw(crate::random::token()),
            lease: Lease::new(options.fixed_id),
            connection: watch::Sender::new(None),
            dead: ReapQueue::default(),
            write_behind: WriteBehind::default(),
            orders: ClusterCommands::default(),
            presence_queue: PresenceQueue::default(),
            expire_now: Notify::new(),
            keys: watch::Sender::new(None),
            revocations: watch::Sender::new(Revocations::default()),
            look_now: Notify::new(),
            receivers_changed: Notify::new(),
            condition: Mutex::default(),
            peers: Mutex::default(),
            retired: AtomicBool::default(),
            deliver,
            options,
        });
        let subscriber = Subscriber::new(Arc::clone(&shared));
        let followers: Vec<_> = outlets
            .into_iter()
            .filter_map(|(application, log_receiver)| {
                let since = subscriber.watch(&application.name)?;
                let (deliver, connection) = (Arc::clone(&shared.deliver), shared.connection.subscribe());
                let metrics = Arc::clone(&shared.options.metrics);
                Some(
                    Follower::new(application, deliver, metrics, log_receiver, since, connection)
                        .run()
                        .boxed(),
                )
            })
            .collect();
        let driver = ConnectionSupervisor::new(Arc::clone(&shared));
        let others = [driver.run().boxed(), subscriber.run().boxed()];
        // Each is polled only when it is woken itself: every message of a channel wakes a follower.
        let mut tasks: FuturesUnordered<_> = followers.into_iter().chain(others).collect();
        let driving = async move { while tasks.next().await.is_some() {} };
        Ok((Self { shared }, driving))
    }

    /// Returns a watch on the API keys stored on the server.
    pub fn keys(&self) -> watch::Receiver<Option<KeyRecords>> {
        self.shared.keys.subscribe()
    }

    /// Returns the jobs in the same server.
    pub fn jobs(&self) -> RedisJobs {
        RedisJobs::new(Arc::clone(&self.shared))
    }

    /// Returns the tickets in the same server.
    pub fn tickets(&self) -> RedisTickets {
        RedisTickets::new(Arc::clone(&self.shared))
    }

    pub(super) fn application(&self, name: &str) -> Option<&Arc<RedisApplication>> {
        self.shared.applications.get(name)
    }
}

impl Backplane for RedisBackplane {
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        let application = self.application(&joining.application);
        let is_linked = self.shared.connection.borrow().is_some();
        match application {
            Some(application) if is_linked => {
                let joined = application.members.join(joining);
                self.shared.receivers_changed.notify_one();
                joined
            }
            _ => Box::pin(std::future::ready(Err(JoinError::Unavailable))),
        }
    }

    fn ready(&self, application: &str, id: SessionId) {
        if let Some(application) = self.application(application) {
            application.members.ready(id);
        }
    }

    fn leave(&self, application: &str, id: SessionId) {
        if let Some(application) = self.application(application) {
            application.members.leave(id);
            self.shared.receivers_changed.notify_one();
        }
    }

    fn report(
        &self,
        application: &str,
        id: SessionId,
        key: &Arc<str>,
        report: Report,
    ) -> Pending<Position, Unavailable> {
        let Some(application) = self.application(application) else {
            return Box::pin(std::future::ready(Err(Unavailable)));
        };
        let applied = application.members.report(id, key, report);
        Box::pin(async { applied.await.map_err(|_| Unavailable) })
    }

    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError> {
        let Publishing {
            application,
            events,
            idempotency,
            when_unavailable,
        } = publishing;
        let refused = |error| Box::pin(std::future::ready(Err(error)));
        let Some(application) = self.application(&application) else {
            return refused(PublishError::Unavailable);
        };
        let bytes = events.iter().map(|event| Entry::weight_of(&event.name, &event.d)).sum();
        if !self.shared.deliver.has_room(bytes) {
            return refused(PublishError::Overloaded);
        }
        self.shared
            .queue
            .push(Arc::clone(application), events, idempotency, when_unavailable)
    }

    fn log_range(&self, application: &str) -> Pending<LogRange, Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let application = self.application(application).map(Arc::clone);
        Box::pin(async move {
            let (connection, application) = (connection.ok_or(Unavailable)?, application.ok_or(Unavailable)?);
            pages::range(&application, &connection).await
        })
    }

    fn ack(&self, entry: &Entry) {
        if let Some(application) = self.application(&entry.application) {
            application.members.ack(entry.position.offset);
        }
    }

    fn redeliver(&self, entry: &Entry) {
        let Some(application) = self.application(&entry.application) else {
            return;
        };
        let is_given_up = match &entry.audience {
            Audience::Types(_) | Audience::User { .. } | Audience::Request { .. } | Audience::Job(_) => false,
            Audience::One { .. } => true,
            // Some of its sessions may be on other workers of this node.
            Audience::Reporters { sessions, .. } => !application.members.is_any_there(sessions),
        };
        if is_given_up {
            application.members.nack(entry.position.offset);
        }
    }

    fn reply_address(&self) -> ReplyAddress {
        self.shared.reply_address
    }

    fn reply(&self, to: ReplyAddress, receipt: Receipt, reply: Reply, until: Instant) {
        if to == self.shared.reply_address {
            self.shared.deliver.replied(receipt, reply);
        } else {
            self.shared.replies.push(to, receipt, &reply, until);
        }
    }

    fn command_all(&self, application: &Arc<str>, order: &str) -> Pending<CommandReach, Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let application = self.application(application).map(Arc::clone);
        let order = order.to_owned();
        Box::pin(async move {
            let (connection, application) = (connection.ok_or(Unavailable)?, application.ok_or(Unavailable)?);
            command_calls::send(&application, &connection, &order)
                .await
                .map_err(|_| Unavailable)
        })
    }

    fn is_flushed(&self) -> bool {
        let mut members = self
            .shared
            .applications
            .values()
            .map(|application| &application.members);
        self.shared.queue.is_empty()
            && self.shared.write_behind.is_flushed()
            && self.shared.presence_queue.is_flushed()
            && members.all(Members::is_flushed)
    }

    fn status(&self) -> BackplaneStatus {
        let available = self.shared.connection.borrow().is_some();
        let is_leased = self.shared.lease.is_good(Instant::now());
        let condition = self.shared.condition.lock();
        let is_in_grace = condition.well.is_some_and(|well| well.elapsed() < GRACE);
        let waiting = match (available, is_leased) {
            (false, _) => Some("redis has not answered yet"),
            (true, false) => Some("waiting for a number for ids, until older leases in redis have ended"),
            (true, true) => None,
        };
        BackplaneStatus {
            kind: "redis",
            available,
            ready: (available && is_leased) || is_in_grace,
            problem: condition.problem.clone().or_else(|| waiting.map(str::to_owned)),
            held_bytes: self.shared.queue.bytes(),
            logs: self
                .shared
                .applications
                .values()
                .map(|application| application.status())
                .collect(),
        }
    }

    fn known_peers(&self) -> Option<Arc<[Peer]>> {
        self.shared.known_peers()
    }

    fn retire(&self) -> Pending<(), Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let shared = Arc::clone(&self.shared);
        // Before the removal is sent, so that no renewal follows it on the connection.
        shared.retired.store(true, Relaxed);
        Box::pin(async move {
            let connection = connection.ok_or(Unavailable)?;
            peers::retire(&shared, &connection).await.map_err(|_| Unavailable)
        })
    }

    fn peers(&self) -> Pending<Vec<Peer>, Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let connection = connection.ok_or(Unavailable)?;
            peers::list(&shared, &connection).await.map_err(|_| Unavailable)
        })
    }
}
