//! The node's single pub/sub connection. It is subscribed to the channel of every application that has receivers on
//! this node, and to the channel of the replies to this node's requests.
//!
//! Pub/sub ignores database numbers, and any client may publish. So the channel's name and every message carry the
//! identity of the cluster, and a message without it is dropped.

use std::{sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use rustc_hash::FxHashMap;
use tokio::{sync::watch, time::Instant};

use crate::{
    backends::redis::{
        application::RedisApplication,
        cluster_commands::ClusterCommand,
        connection::{problem::RedisProblem, reconnect_backoff},
        replies, reply_queue,
        sessions::owner_message::owner_in,
        shared::RedisShared,
    },
    backplane::Owner,
};

/// How often the connection is pinged.
const PING: Duration = Duration::from_secs(1);

pub(in crate::backends::redis) struct Subscriber {
    shared: Arc<RedisShared>,
    /// When the channel of each application was subscribed to; `None` while it is not.
    subscribed: FxHashMap<Arc<str>, watch::Sender<Option<Instant>>>,
}

impl Subscriber {
    pub(in crate::backends::redis) fn new(shared: Arc<RedisShared>) -> Self {
        let names = shared.applications.keys();
        Self {
            subscribed: names.map(|name| (Arc::clone(name), watch::Sender::new(None))).collect(),
            shared,
        }
    }

    /// Returns a watch on when the application's channel was subscribed to.
    pub(in crate::backends::redis) fn watch(&self, application: &str) -> Option<watch::Receiver<Option<Instant>>> {
        self.subscribed.get(application).map(watch::Sender::subscribe)
    }

    /// Subscribes until the node stops, again after every disconnect. It then requests a read of the log heads, which
    /// finds missed entries.
    pub(in crate::backends::redis) async fn run(self) {
        let mut backoff = reconnect_backoff();
        let mut last = None;
        loop {
            let began = Instant::now();
            let problem = self.subscribe().await;
            // The command connection reports outages. While it is up, losing pub/sub only adds latency: the next read
            // of the log heads finds what was missed.
            let is_cut = matches!(problem, RedisProblem::Unreachable { .. } | RedisProblem::Silent { .. });
            let is_told = is_cut || self.shared.connection.borrow().is_none();
            if !is_told && last.as_ref() != Some(&problem) {
                log::warn!("events are delayed without pub/sub: {problem}");
            }
            last = Some(problem);
            if began.elapsed() > Duration::from_secs(5) {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next(crate::random::fraction())).await;
        }
    }

    async fn subscribe(&self) -> RedisProblem {
        // Keyed by the name of the channel without the identity.
        let applications: FxHashMap<Vec<u8>, _> = self
            .shared
            .applications
            .values()
            .map(|application| (application.channel("").into_bytes(), Arc::clone(application)))
            .collect();
        let shared = Arc::downgrade(&self.shared);
        let replies = replies::channel(&self.shared, self.shared.reply_address);
        let reply_channel = replies.clone().into_bytes();
        let on_message = move |channel: &[u8], message: &[u8]| {
            let Some(shared) = shared.upgrade() else { return };
            if channel == reply_channel {
                if let Some((receipt, reply)) = reply_queue::read(message) {
                    shared.deliver.replied(receipt, reply);
                }
            } else if let Some(end) = channel.iter().rposition(|byte| *byte == b':')
                && let Some(application) = applications.get(&channel[..=end])
            {
                hear(&shared, application, message);
            }
        };
        let mut open = match self.shared.server.subscriber(on_message).await {
            Ok(open) => open,
            Err(problem) => return problem,
        };
        let connection = &mut open.commands;
        if let Err(error) = connection.subscribe(&replies).await {
            return RedisProblem::of(&self.shared.server.address, &error);
        }
        let mut held = FxHashMap::default();
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let desired = self.shared.receivers_changed.notified();
            if let Err(error) = self.follow_receivers(connection, &mut held).await {
                return RedisProblem::of(&self.shared.server.address, &error);
            }
            let is_time_to_ping = tokio::select! {
                () = desired => false,
                _ = pings.tick() => true,
                // It changes only once, when the connection is lost.
                _ = open.is_disconnected.changed() => return RedisProblem::Silent { address: self.shared.server.address.clone() },
            };
            if is_time_to_ping {
                let pong: redis::RedisResult<String> = redis::cmd("PING").query_async(connection).await;
                if let Err(error) = pong {
                    return RedisProblem::of(&self.shared.server.address, &error);
                }
            }
        }
    }

    /// Subscribes to the channels of applications with receivers. Unsubscribes from channels without receivers, or
    /// whose name has changed. `held` maps applications to their subscribed channels.
    async fn follow_receivers(
        &self,
        connection: &mut MultiplexedConnection,
        held: &mut FxHashMap<Arc<str>, String>,
    ) -> redis::RedisResult<()> {
        for application in self.shared.applications.values() {
            let RedisApplication { name, members, .. } = &**application;
            let identity = application.identity().filter(|_| members.are_there());
            let desired = identity.map(|identity| application.channel(&identity));
            if desired.as_ref() == held.get(name) {
                continue;
            }
            if let Some(channel) = held.remove(name) {
                connection.unsubscribe(channel).await?;
            }
            let Some(channel) = desired else {
                self.note(name, None);
                continue;
            };
            connection.subscribe(&channel).await?;
            held.insert(Arc::clone(name), channel);
            self.note(name, Some(Instant::now()));
            self.shared.look_now.notify_one();
        }
        Ok(())
    }

    fn note(&self, application: &Arc<str>, when: Option<Instant>) {
        if let Some(subscribed) = self.subscribed.get(application) {
            subscribed.send_replace(when);
        }
    }
}

/// Processes a message of an application's channel, if it belongs to this cluster.
fn hear(shared: &RedisShared, application: &Arc<RedisApplication>, message: &[u8]) {
    let Some(prefix) = application.own_prefix(message) else {
        return;
    };
    let message = &message[prefix..];
    if let Some(ClusterCommand { id, text }) = ClusterCommand::read(message) {
        shared.deliver.command_received(&application.name, &text);
        shared.orders.obeyed(application, id);
    } else if let Some((id, fencing_token)) = owner_in(message) {
        shared.deliver.superseded(&Owner {
            application: Arc::clone(&application.name),
            id,
            fencing_token,
        });
    } else {
        application.log_sender.push(message.to_vec());
    }
}
