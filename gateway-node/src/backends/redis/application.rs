//! One application as this node sees it: under which name it is registered, how far its log goes, who is a member.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::Cmd;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    connection::redis_connection::RedisConnection,
    log::{
        follower::LogSender,
        log_head::{ConsumerProgress, LogHead},
    },
    membership::Members,
    options::RedisOptions,
    scripts::Script,
    sessions::live::LiveSessions,
};
use crate::backplane::{LogStatus, Position};

pub(super) struct RedisApplication {
    pub(super) name: Arc<str>,
    /// What all its keys start with.
    key: String,
    /// What the messages of its cluster carry; none before the node has registered.
    identity: Mutex<Option<Arc<str>>>,
    registration: Mutex<NodeRegistration>,
    pub(super) members: Members,
    /// The Discord sessions that get what is delivered.
    pub(super) live: LiveSessions,
    /// Where messages of its channel go.
    pub(super) log_sender: LogSender,
    /// What the last look at the log showed.
    pub(super) head: watch::Sender<Option<LogHead>>,
    progress: Mutex<ConsumerProgress>,
    /// The counts may differ from those that were told last.
    pub(super) counts_changed: Notify,
}

/// How this node is registered with an application.
#[derive(Debug, Clone)]
pub(super) struct NodeRegistration {
    /// The name of the node there. Another one takes its place when the node was reaped under it.
    pub(super) owner: Arc<str>,
    /// Grows with every connection; the scripts hear the highest one alone.
    pub(super) fence: u64,
    /// Until when nobody can have reaped the node.
    pub(super) until: Instant,
    /// Whether the server has known the owner.
    pub(super) is_known: bool,
    names: u32,
}

impl RedisApplication {
    /// An application that this life of the node has nothing to do with yet.
    pub(super) fn new(name: Arc<str>, options: &RedisOptions, log_sender: LogSender) -> Self {
        let registration = NodeRegistration {
            owner: format!("{:016x}", options.incarnation).into(),
            fence: 0,
            until: Instant::now(),
            is_known: false,
            names: 0,
        };
        Self {
            key: format!("{}:{{{name}}}:", options.prefix),
            name,
            identity: Mutex::default(),
            registration: Mutex::new(registration),
            members: Members::new(options.reports),
            live: LiveSessions::default(),
            log_sender,
            head: watch::Sender::new(None),
            progress: Mutex::default(),
            counts_changed: Notify::new(),
        }
    }

    /// The key of this name.
    pub(super) fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{}{name}", self.key)
    }

    /// The channel of the cluster with this identity, on which the server publishes new entries.
    pub(super) fn channel(&self, identity: &str) -> String {
        self.key(format_args!("events:{identity}"))
    }

    /// What the messages of this cluster carry, as the server said last.
    pub(super) fn identity(&self) -> Option<Arc<str>> {
        lock(&self.identity).clone()
    }

    /// Takes over the identity that the server says. Returns whether it is another one.
    pub(super) fn set_identity(&self, identity: &str) -> bool {
        let mut known = lock(&self.identity);
        let is_new = known.as_deref() != Some(identity);
        if is_new {
            *known = Some(identity.into());
        }
        is_new
    }

    /// The length of the identity and the space in front of a message, if it is one of this cluster.
    pub(super) fn own_prefix(&self, message: &[u8]) -> Option<usize> {
        let identity = self.identity()?;
        let rest = message.strip_prefix(identity.as_bytes())?;
        rest.starts_with(b" ").then_some(identity.len() + 1)
    }

    pub(super) fn registration(&self) -> NodeRegistration {
        lock(&self.registration).clone()
    }

    /// Takes another name: under the last one the node has been reaped.
    pub(super) fn rename(&self, incarnation: u64) {
        let mut registration = lock(&self.registration);
        registration.names += 1;
        registration.owner = format!("{incarnation:016x}.{}", registration.names).into();
        registration.is_known = false;
    }

    /// Notes that the server has this fence, or has renewed the lease, by a call that was sent at `sent`.
    pub(super) fn registered(&self, fence: u64, sent: Instant, lease: Duration) {
        let mut registration = lock(&self.registration);
        registration.fence = fence;
        registration.is_known = true;
        registration.until = sent + lease;
    }

    /// Begins a call of a script that only the registered node may make: its owner and fence come first.
    pub(super) fn call(&self, connection: &RedisConnection, script: Script) -> Cmd {
        let registration = lock(&self.registration);
        let mut call = connection.script(script, &self.key);
        call.arg(&*registration.owner).arg(registration.fence);
        call
    }

    /// The same for a script that may begin an epoch: the server's life and the epoch's name come before.
    pub(super) fn call_log(&self, connection: &RedisConnection, script: Script) -> Cmd {
        let registration = lock(&self.registration);
        let mut call = connection.script(script, &self.key);
        call.arg(&*connection.run_id)
            .arg(format!("{:016x}", fastrand::u64(..)))
            .arg(&*registration.owner)
            .arg(registration.fence);
        call
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, ConsumerProgress> {
        lock(&self.progress)
    }

    /// Notes that an entry stands there.
    pub(super) fn note_entry(&self, position: Position) {
        self.progress().note(position);
    }

    /// How this node stands with the log.
    pub(super) fn status(&self) -> LogStatus {
        let head = self.head.borrow();
        let progress = self.progress();
        let (epoch, top) = head.as_ref().map_or((None, 0), |head| (Some(head.epoch), head.top));
        let cursor = progress.cursor.filter(|cursor| Some(cursor.epoch) == epoch);
        let top = cursor.map_or(top, |cursor| top.max(cursor.offset));
        LogStatus {
            application: Arc::clone(&self.name),
            epoch,
            top,
            lag: cursor.map_or(0, |cursor| top - cursor.offset),
        }
    }
}

/// Nothing that is locked here is left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
