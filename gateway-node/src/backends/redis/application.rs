//! One application as this node sees it: its registration, the state of its log, and its members.

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use redis::Cmd;
use shared::v1::payload::GuildCount;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    connection::redis_connection::RedisConnection,
    log::{
        acceptances::Acceptances,
        channel::LogSender,
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
    /// The prefix of all its keys.
    key: String,
    /// The identity that the messages of its cluster carry; `None` until the node has registered.
    identity: Mutex<Option<Arc<str>>>,
    registration: Mutex<NodeRegistration>,
    /// Wakes the follower when the registration has changed.
    pub(super) registration_changed: Notify,
    pub(super) members: Members,
    /// The live Discord sessions, which receive what is delivered.
    pub(super) live: LiveSessions,
    /// The sending end of the queue of channel messages.
    pub(super) log_sender: LogSender,
    /// The head of the log when it was last read.
    pub(super) head: watch::Sender<Option<LogHead>>,
    progress: Mutex<ConsumerProgress>,
    /// When this node accepted its latest publications.
    pub(super) acceptances: Acceptances,
    /// Notified when the counts may differ from those broadcast last.
    pub(super) counts_changed: Notify,
    /// Notified when a worker may have left jobs behind.
    pub(super) jobs_changed: Notify,
}

/// The registration of this node with an application.
#[derive(Debug, Clone)]
pub(super) struct NodeRegistration {
    /// The name of the node in this application. It takes a new name if it was reaped under the old one.
    pub(super) owner: Arc<str>,
    /// Grows with every connection. The scripts accept only the highest fence.
    pub(super) fence: u64,
    /// Until when no other node can have reaped this one.
    pub(super) until: Instant,
    /// Whether the node has been registered under this name before.
    pub(super) is_known: bool,
    names: u32,
}

impl RedisApplication {
    /// An application with which this process has not registered yet.
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
            registration_changed: Notify::new(),
            members: Members::new(options.reports),
            live: LiveSessions::default(),
            log_sender,
            head: watch::Sender::new(None),
            progress: Mutex::default(),
            acceptances: Acceptances::default(),
            counts_changed: Notify::new(),
            jobs_changed: Notify::new(),
        }
    }

    /// The full key for `name`.
    pub(super) fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{}{name}", self.key)
    }

    /// The channel on which the server publishes new entries, for the cluster with this identity.
    pub(super) fn channel(&self, identity: &str) -> String {
        self.key(format_args!("events:{identity}"))
    }

    /// The identity of the cluster, as the server last returned it.
    pub(super) fn identity(&self) -> Option<Arc<str>> {
        self.identity.lock().clone()
    }

    /// Stores the identity that the server returned. Returns whether it has changed.
    pub(super) fn set_identity(&self, identity: &str) -> bool {
        let mut known = self.identity.lock();
        let is_new = known.as_deref() != Some(identity);
        if is_new {
            *known = Some(identity.into());
        }
        is_new
    }

    /// The length of the prefix of a message (identity and space), or `None` if the message belongs to another cluster.
    pub(super) fn own_prefix(&self, message: &[u8]) -> Option<usize> {
        let identity = self.identity()?;
        let rest = message.strip_prefix(identity.as_bytes())?;
        rest.starts_with(b" ").then_some(identity.len() + 1)
    }

    pub(super) fn registration(&self) -> NodeRegistration {
        self.registration.lock().clone()
    }

    /// Takes a new name, after the node was reaped under the old one.
    pub(super) fn rename(&self, incarnation: u64) {
        let mut registration = self.registration.lock();
        registration.names += 1;
        registration.owner = format!("{incarnation:016x}.{}", registration.names).into();
        registration.is_known = false;
        drop(registration);
        self.registration_changed.notify_waiters();
    }

    /// Records that the server has accepted this fence or renewed the lease, in a call sent at `sent`.
    pub(super) fn registered(&self, fence: u64, sent: Instant, lease: Duration) {
        let mut registration = self.registration.lock();
        registration.fence = fence;
        registration.is_known = true;
        registration.until = sent + lease;
        drop(registration);
        self.registration_changed.notify_waiters();
    }

    /// Starts a call of a script that only the registered node may run. The first arguments are its name and fence.
    pub(super) fn call(&self, connection: &RedisConnection, script: Script) -> Cmd {
        let registration = self.registration.lock();
        let mut call = connection.script(script, &self.key);
        call.arg(&*registration.owner).arg(registration.fence);
        call
    }

    /// Starts a call of a script that may begin an epoch. The first arguments are the server's run id and the name of
    /// the new epoch, then as in [`Self::call`].
    pub(super) fn call_log(&self, connection: &RedisConnection, script: Script) -> Cmd {
        let registration = self.registration.lock();
        let mut call = connection.script(script, &self.key);
        call.arg(&*connection.run_id)
            .arg(format!("{:016x}", crate::random::token()))
            .arg(&*registration.owner)
            .arg(registration.fence);
        call
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, ConsumerProgress> {
        self.progress.lock()
    }

    /// Records that there is an entry at this position.
    pub(super) fn note_entry(&self, position: Position) {
        self.progress().note(position);
    }

    /// The state of the log, as this node knows it.
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
            behind: progress.behind(),
            counts: head.as_ref().map_or_else(GuildCount::default, |head| head.counts),
        }
    }
}
