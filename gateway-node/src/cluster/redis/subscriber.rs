//! The node's one connection for pub/sub: subscribed to the channel of every application that has receivers here.

use std::{sync::Arc, time::Duration};

use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{sync::watch, time::Instant};

use super::{super::Owner, ORDER, Shared, application::Application, backoff::Backoff, discord, problem::Problem};

/// How often the connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(1);

pub(super) struct Subscriber {
    shared: Arc<Shared>,
    /// When the channel of each application was subscribed to.
    subscribed: FxHashMap<Arc<str>, watch::Sender<Option<Instant>>>,
}

impl Subscriber {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let names = shared.applications.keys();
        Self {
            subscribed: names.map(|name| (Arc::clone(name), watch::Sender::new(None))).collect(),
            shared,
        }
    }

    /// When the application's channel was subscribed to.
    pub(super) fn watch(&self, application: &str) -> Option<watch::Receiver<Option<Instant>>> {
        self.subscribed.get(application).map(watch::Sender::subscribe)
    }

    /// Subscribes, again after every cut, for as long as the node lives. Whoever is behind after one learns so from the
    /// next look at the log, which is asked for at once.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let began = Instant::now();
            let problem = self.subscribe().await;
            // What keeps the node from having a link, that one tells. Beside a link, this connection is missed for its
            // speed alone: what it does not bring is found by the next look.
            let is_cut = matches!(problem, Problem::Unreachable { .. } | Problem::Silent { .. });
            let is_told = is_cut || self.shared.link.borrow().is_none();
            if !is_told && last.as_ref() != Some(&problem) {
                log::warn!("events come late, without pub/sub: {problem}");
            }
            last = Some(problem);
            if began.elapsed() > Duration::from_secs(5) {
                backoff = Backoff::default();
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn subscribe(&self) -> Problem {
        let inlets: FxHashMap<Vec<u8>, _> = self
            .shared
            .applications
            .values()
            .map(|application| {
                let (name, inlet) = (Arc::clone(&application.name), application.inlet.clone());
                (application.channel().into_bytes(), (name, inlet))
            })
            .collect();
        let deliver = Arc::clone(&self.shared.deliver);
        let on_push = move |push: PushInfo| {
            if push.kind != PushKind::Message {
                return;
            }
            let mut data = push.data.into_iter();
            if let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) = (data.next(), data.next())
                && let Some((application, inlet)) = inlets.get(&channel)
            {
                if let Some(order) = message.strip_prefix(ORDER.as_bytes()) {
                    deliver.herded(application, &String::from_utf8_lossy(order));
                    return;
                }
                match discord::owner_in(&message) {
                    Some((id, generation)) => deliver.superseded(&Owner {
                        application: Arc::clone(application),
                        id,
                        generation,
                    }),
                    None => inlet.push(message),
                }
            }
        };
        let (mut connection, mut is_cut) = match self.shared.server.connect(on_push).await {
            Ok(connected) => connected,
            Err(problem) => return problem,
        };
        let mut held = FxHashSet::default();
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wanted = self.shared.receivers_changed.notified();
            if let Err(error) = self.follow_receivers(&mut connection, &mut held).await {
                return Problem::of(&self.shared.server.address, &error);
            }
            let is_time_to_ping = tokio::select! {
                () = wanted => false,
                _ = pings.tick() => true,
                // It changes once: when the connection is cut.
                _ = is_cut.changed() => return Problem::Silent { address: self.shared.server.address.clone() },
            };
            if is_time_to_ping {
                let pong: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
                if let Err(error) = pong {
                    return Problem::of(&self.shared.server.address, &error);
                }
            }
        }
    }

    /// Subscribes to what has receivers, and leaves what has none any more.
    async fn follow_receivers(
        &self,
        connection: &mut MultiplexedConnection,
        held: &mut FxHashSet<Arc<str>>,
    ) -> redis::RedisResult<()> {
        for application in self.shared.applications.values() {
            let Application { name, members, .. } = &**application;
            let has_receivers = members.are_there();
            if has_receivers && !held.contains(name) {
                connection.subscribe(application.channel()).await?;
                held.insert(Arc::clone(name));
                self.note(name, Some(Instant::now()));
                self.shared.look_now.notify_one();
            } else if !has_receivers && held.remove(name) {
                connection.unsubscribe(application.channel()).await?;
                self.note(name, None);
            }
        }
        Ok(())
    }

    fn note(&self, application: &Arc<str>, when: Option<Instant>) {
        if let Some(subscribed) = self.subscribed.get(application) {
            subscribed.send_replace(when);
        }
    }
}
