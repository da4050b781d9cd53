//! The state that the tasks of the backplane share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    application::RedisApplication,
    cluster_commands::ClusterCommands,
    connection::{redis_connection::RedisConnection, server::RedisServer},
    log::{bounds::LogBounds, publish_queue::PublishQueue},
    membership::{lease::Lease, reap_queue::ReapQueue},
    options::RedisOptions,
    reply_queue::ReplyQueue,
    sessions::write_behind::WriteBehind,
};
use crate::{
    backplane::{Deliver, Peer, ReplyAddress, Revocations},
    resume::PresenceQueue,
};

/// Pairs of id and record, sorted by id.
pub type KeyRecords = Arc<Vec<(String, String)>>;

/// The state shared by the tasks of the backplane.
pub(super) struct RedisShared {
    pub(super) options: RedisOptions,
    pub(super) server: RedisServer,
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) bounds: LogBounds,
    pub(super) applications: FxHashMap<Arc<str>, Arc<RedisApplication>>,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) replies: ReplyQueue,
    /// Where this node gets replies.
    pub(super) reply_address: ReplyAddress,
    pub(super) lease: Lease,
    pub(super) connection: watch::Sender<Option<RedisConnection>>,
    pub(super) dead: ReapQueue,
    pub(super) write_behind: WriteBehind,
    pub(super) orders: ClusterCommands,
    pub(super) presence_queue: PresenceQueue,
    /// Requests a check for Discord sessions that have ended.
    pub(super) expire_now: Notify,
    /// The API keys stored on the server; `None` until they have been read.
    pub(super) keys: watch::Sender<Option<KeyRecords>>,
    /// The revocations of users.
    pub(super) revocations: watch::Sender<Revocations>,
    /// Requests a read of the log heads now.
    pub(super) look_now: Notify,
    /// Notified when an application may have gained its first receiver or lost its last.
    pub(super) receivers_changed: Notify,
    pub(super) condition: Mutex<Condition>,
    /// The nodes of the cluster a moment ago; `None` while the server is unavailable.
    pub(super) peers: Mutex<Option<Arc<[Peer]>>>,
    /// Whether this node has left the cluster.
    pub(super) retired: AtomicBool,
}

/// The condition of the server.
#[derive(Default)]
pub(super) struct Condition {
    pub(super) problem: Option<String>,
    /// When everything was last well; `None` if it never was.
    pub(super) well: Option<Instant>,
}

impl RedisShared {
    /// Whether this node has left the cluster, and so renews no lease any more.
    pub(super) fn has_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// The full key for `name`, which all applications share.
    pub(super) fn cluster_key(&self, name: &str) -> String {
        format!("{}:{{_cluster}}:{name}", self.options.prefix)
    }
}
