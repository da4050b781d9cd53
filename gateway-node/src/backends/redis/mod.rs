//! The backplane of nodes that share a Redis: its log, membership and counts are there, changed by scripts alone.
//!
//! ```text
//! publish ─▶ publisher ─▶ link ══▶ Redis ══▶ subscriber ─▶ follower ─▶ Deliver
//! join, leave, report ─▶ members ─▶ link          pulse: leases, looks, counts, the dead
//! ```
//!
//! A **link** is one checked connection. Everything that uses it ends with it; `ConnectionSupervisor` makes the next one, registers
//! the node under a higher fence, and lets all of them begin anew. What a cut connection still had to say is refused by
//! the scripts, so nothing is repeated blindly. The keys are described in `scripts/application.lua`.

mod application;
mod cluster_commands;
mod connection;
#[cfg(test)]
mod foreign_tests;
mod guilds;
mod keys;
mod log;
mod membership;
mod options;
#[cfg(test)]
mod receiver_tests;
#[cfg(test)]
mod report_tests;
mod scripts;
mod sessions;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{Cmd, RedisError};
use rustc_hash::FxHashMap;
use secrecy::SecretString;
use shared::{session_id::SessionId, v1::Report};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::{
    application::{RedisApplication, lock},
    cluster_commands::ClusterCommands,
    connection::{
        redis_connection::{RedisConnection, RedisServer},
        supervisor::ConnectionSupervisor,
    },
    log::{follower::Follower, publisher::PublishQueue, subscriber::Subscriber},
    membership::{Members, lease::Lease, reap_queue::ReapQueue},
    sessions::write_behind::WriteBehind,
};
pub use self::{
    keys::{KeyRecords, KeyStore, KeyStoreError},
    options::RedisOptions,
    sessions::RedisSessions,
};
use crate::{
    backplane::{
        Audience, Backplane, BackplaneStatus, Deliver, Entry, JoinError, Joined, Joining, Peer, Pending, Position,
        PublishError, Publishing, Unavailable,
    },
    resume::PresenceQueue,
};

/// How entries are read and written, for the fuzz targets of `tests`.
#[doc(hidden)]
pub mod log_entry {
    pub use super::log::wire::{NoEntry, Origin, StoredEntry, decode, label, split_message};
}

/// How long the server may be away before the node says that it should not get clients.
const GRACE: Duration = Duration::from_secs(3);
/// How often a node looks whether the keys have changed. Who is revoked has to hear of it within a second.
const KEY_CHECK: Duration = Duration::from_millis(250);

/// Why there is no backplane. That the server is away is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisSetupError {
    /// The URL is none of a server.
    #[error("redis.url cannot be used: {0}")]
    Url(#[from] RedisError),
    /// The authority's certificate cannot be read.
    #[error("redis.ca cannot be read: {0}")]
    Authority(#[from] io::Error),
}

/// A node's part of a cluster.
pub struct RedisBackplane {
    shared: Arc<RedisShared>,
}

/// What the tasks of the backplane share.
struct RedisShared {
    options: RedisOptions,
    server: RedisServer,
    deliver: Arc<dyn Deliver>,
    bounds: LogBounds,
    applications: FxHashMap<Arc<str>, Arc<RedisApplication>>,
    queue: Arc<PublishQueue>,
    lease: Lease,
    connection: watch::Sender<Option<RedisConnection>>,
    dead: ReapQueue,
    write_behind: WriteBehind,
    orders: ClusterCommands,
    presence_queue: PresenceQueue,
    /// Asks for a look at the Discord sessions that are over.
    fade_now: Notify,
    /// The keys that are kept on the server; none before they were read.
    keys: watch::Sender<Option<KeyRecords>>,
    /// Asks for a look at the logs now.
    look_now: Notify,
    /// An application may have its first receiver, or have lost its last.
    receivers_changed: Notify,
    condition: Mutex<Condition>,
}

/// How the server is.
#[derive(Default)]
struct Condition {
    problem: Option<String>,
    /// When everything was well last; none before it ever was.
    well: Option<Instant>,
}

/// What bounds a log.
#[derive(Debug, Clone, Copy)]
struct LogBounds {
    entries: usize,
    age: Duration,
    bytes: usize,
}

impl LogBounds {
    /// Adds the bounds to a call: entries, ms, bytes.
    fn add_to(self, call: &mut Cmd) {
        call.arg(self.entries)
            .arg(membership::maintenance::millis(self.age))
            .arg(self.bytes);
    }
}

impl RedisBackplane {
    /// A backplane on the server of the options, and what drives it for as long as it is polled. The server need not be
    /// there yet.
    ///
    /// # Errors
    /// When the URL or the authority's file cannot be used.
    pub fn new(
        options: RedisOptions,
        deliver: Arc<dyn Deliver>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), RedisSetupError> {
        let server = server_of(&options.url, options.authority.as_deref())?;
        let bounds = LogBounds {
            entries: options.log_entries,
            age: options.log_age,
            bytes: options.log_bytes,
        };
        let mut outlets = Vec::new();
        let applications = options.applications.iter().map(|name| {
            let (log_sender, log_receiver) = log::follower::channel(options.hold_bytes);
            let application = RedisApplication::new(Arc::clone(name), &options, log_sender);
            let application = Arc::new(application);
            outlets.push((Arc::clone(&application), log_receiver));
            (Arc::clone(name), application)
        });
        let applications: FxHashMap<_, _> = applications.collect();
        for name in applications.keys() {
            // Nothing is delivered before it is known from where on.
            deliver.reset(name, None);
        }
        // Not the incarnation itself: origins count on from it.
        let origin = options.incarnation.rotate_left(32);
        let shared = Arc::new(RedisShared {
            server,
            bounds,
            applications,
            queue: Arc::new(PublishQueue::new(options.hold_bytes, options.hold, origin)),
            lease: Lease::new(options.fixed_id),
            connection: watch::Sender::new(None),
            dead: ReapQueue::default(),
            write_behind: WriteBehind::default(),
            orders: ClusterCommands::default(),
            presence_queue: PresenceQueue::default(),
            fade_now: Notify::new(),
            keys: watch::Sender::new(None),
            look_now: Notify::new(),
            receivers_changed: Notify::new(),
            condition: Mutex::default(),
            deliver,
            options,
        });
        let subscriber = Subscriber::new(Arc::clone(&shared));
        let followers: Vec<_> = outlets
            .into_iter()
            .filter_map(|(application, log_receiver)| {
                let since = subscriber.watch(&application.name)?;
                let (deliver, connection) = (Arc::clone(&shared.deliver), shared.connection.subscribe());
                Some(Follower::new(application, deliver, log_receiver, since, connection).run())
            })
            .collect();
        let driver = ConnectionSupervisor::new(Arc::clone(&shared));
        let driving = async move {
            futures_util::future::join3(
                driver.run(),
                subscriber.run(),
                futures_util::future::join_all(followers),
            )
            .await;
        };
        Ok((Self { shared }, driving))
    }

    /// The keys that are kept on the server, as they change.
    pub fn keys(&self) -> watch::Receiver<Option<KeyRecords>> {
        self.shared.keys.subscribe()
    }

    fn application(&self, name: &str) -> Option<&Arc<RedisApplication>> {
        self.shared.applications.get(name)
    }
}

/// The server at this URL, whose certificate is held against this authority if there is one.
fn server_of(url: &SecretString, authority: Option<&Path>) -> Result<RedisServer, RedisSetupError> {
    let authority = authority.map(fs::read).transpose()?;
    Ok(RedisServer::new(url, authority.as_deref())?)
}

impl RedisShared {
    /// The key of this name that all applications share.
    fn cluster_key(&self, name: &str) -> String {
        format!("{}:{{_cluster}}:{name}", self.options.prefix)
    }
}

impl Backplane for RedisBackplane {
    fn join(&self, joining: Joining) -> Pending<Joined, JoinError> {
        let application = self.application(&joining.application);
        let is_linked = self.shared.connection.borrow().is_some();
        match application {
            Some(application) if is_linked => {
                let joined = application.members.join(joining.kind);
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

    fn report(&self, application: &str, id: SessionId, key: &Arc<str>, report: Report) {
        if let Some(application) = self.application(application) {
            application.members.report(id, key, report);
        }
    }

    fn publish(&self, publishing: Publishing) -> Pending<Vec<Position>, PublishError> {
        let Publishing {
            application,
            events,
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
            .push(Arc::clone(application), events, when_unavailable)
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
            Audience::Types(_) => false,
            Audience::One { .. } => true,
            // Others of its sessions may be on other workers of this node.
            Audience::Reporters { sessions, .. } => !application.members.is_any_there(sessions),
        };
        if is_given_up {
            application.members.nack(entry.position.offset);
        }
    }

    fn command_all(&self, application: &Arc<str>, order: &str) -> Pending<u64, Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let application = self.application(application).map(Arc::clone);
        let order = order.to_owned();
        Box::pin(async move {
            let (connection, application) = (connection.ok_or(Unavailable)?, application.ok_or(Unavailable)?);
            cluster_commands::give(&application, &connection, &order)
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
            && self.shared.write_behind.are_settled()
            && self.shared.presence_queue.is_flushed()
            && members.all(Members::are_settled)
    }

    fn status(&self) -> BackplaneStatus {
        let available = self.shared.connection.borrow().is_some();
        let is_leased = self.shared.lease.is_good(Instant::now());
        let condition = lock(&self.shared.condition);
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
            logs: self
                .shared
                .applications
                .values()
                .map(|application| application.status())
                .collect(),
        }
    }

    fn peers(&self) -> Pending<Vec<Peer>, Unavailable> {
        let connection = self.shared.connection.borrow().clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let connection = connection.ok_or(Unavailable)?;
            connection::supervisor::peers(&shared, &connection)
                .await
                .map_err(|_| Unavailable)
        })
    }
}
