//! The periodic work of a node while it has a connection: renewing its lease and its registrations, reading the heads
//! of the logs, broadcasting counts, and reaping dead nodes.

use std::{sync::Arc, time::Duration};

use shared::{
    client_type::{ClientType, ClientTypes},
    snowflake::Window,
    v1::payload::GuildCount,
};
use tokio::time::{Instant, sleep};

use super::lease::Grant;
use crate::backends::redis::{
    application::RedisApplication,
    connection::{problem::RedisProblem, redis_connection::RedisConnection},
    log::{log_head::LogHead, wire},
    scripts::{Script, millis},
    shared::RedisShared,
};

/// The longest time between two reads of a log's head.
const LOOK: Duration = Duration::from_secs(1);
/// How often the server's role and configuration are checked again.
const CHECK: Duration = Duration::from_secs(5);
/// How many guilds of dead sessions one call removes.
const REAP: usize = 256;

/// The periodic tasks, on one connection.
pub(in crate::backends::redis) struct Maintenance<'a> {
    pub(in crate::backends::redis) shared: &'a Arc<RedisShared>,
    pub(in crate::backends::redis) connection: &'a RedisConnection,
}

impl Maintenance<'_> {
    /// Renews the lease of the node's worker number in time.
    pub(in crate::backends::redis) async fn lease(&self) -> RedisProblem {
        let mut has_waited = false;
        loop {
            if self.shared.has_retired() {
                return std::future::pending().await;
            }
            let pause = match self.renew_number().await {
                Ok(Some(wait)) => {
                    if !std::mem::replace(&mut has_waited, true) {
                        log::info!(wait_ms = millis(wait); "waiting until older leases have expired");
                    }
                    wait
                }
                Ok(None) => self.shared.options.lease / 3,
                Err(problem) => return problem,
            };
            sleep(pause).await;
        }
    }

    /// Acquires or renews the worker number. Returns `None` if it is held, otherwise how long to wait for one.
    async fn renew_number(&self) -> Result<Option<Duration>, RedisProblem> {
        let RedisShared { options, lease, .. } = &**self.shared;
        let about = serde_json::json!({
            "node": &*options.node,
            "version": env!("CARGO_PKG_VERSION"),
            "sessions": self.shared.session_count(),
        });
        let mut call = self.connection.script(Script::Lease, &self.shared.cluster_key(""));
        call.arg(self.shared.holder())
            .arg(lease.worker().map_or(-1, i32::from))
            .arg(millis(options.lease))
            .arg(&*self.connection.run_id)
            .arg(lease.time(Instant::now()))
            .arg(about.to_string());
        let fields = self.connection.query(call).await?;
        match fields.word(0) {
            "granted" => {
                let grant = Grant {
                    worker: u16::try_from(fields.number(1)).unwrap_or(u16::MAX),
                    window: Window {
                        start_ms: fields.number(3),
                        end_ms: fields.number(4),
                    },
                    now_ms: fields.number(2),
                };
                lease
                    .take(grant, Instant::now())
                    .map_err(|error| self.connection.nonsense(&error.to_string()))?;
                Ok(None)
            }
            "wait" => Ok(Some(Duration::from_millis(fields.number(1)).min(options.lease))),
            "full" => {
                log::error!("every number for ids is held by another node");
                Ok(Some(LOOK))
            }
            "clock" => {
                log::error!(unix_ms = fields.number(1); "redis's clock is outside of the range that ids can represent");
                Ok(Some(LOOK))
            }
            _ => Err(self.connection.nonsense("an unknown result of a lease")),
        }
    }

    /// Watches settings that an operator can change while the server runs, such as the eviction policy.
    pub(in crate::backends::redis) async fn check(&self) -> RedisProblem {
        loop {
            sleep(CHECK).await;
            if let Err(problem) = self.connection.check_again().await {
                return problem;
            }
        }
    }

    /// Renews the registrations and reads the heads of the logs, periodically and on request.
    pub(in crate::backends::redis) async fn keep_registered(&self) -> RedisProblem {
        let pause = LOOK.min(self.shared.options.lease / 3);
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.look_now.notified() => {}
            }
            if let Err(problem) = self.look().await {
                return problem;
            }
        }
    }

    /// Reads the head of every log once, which also renews the registrations.
    pub(in crate::backends::redis) async fn look(&self) -> Result<(), RedisProblem> {
        let asked = Instant::now();
        let lease = self.shared.options.lease;
        let applications: Vec<_> = self.shared.applications.values().collect();
        let questions: Vec<_> = applications
            .iter()
            .map(|application| application.progress().head_query(asked))
            .collect();
        let calls: Vec<_> = applications
            .iter()
            .zip(&questions)
            .map(|(application, head_query)| {
                let mut call = application.call_log(self.connection, Script::Renew);
                call.arg(millis(lease));
                self.shared.bounds.add_to(&mut call);
                call.arg(head_query.left.len());
                for position in head_query.left.iter().chain(&head_query.positions) {
                    call.arg(position.epoch.to_string()).arg(position.offset);
                }
                call
            })
            .collect();
        let answers = self.connection.run(calls).await?;
        for ((application, head_query), answer) in applications.into_iter().zip(questions).zip(answers) {
            let fields = answer?;
            if fields.word(0) != "ok" {
                return Err(self.connection.fenced());
            }
            application.registered(application.registration().fence, asked, lease);
            let epoch =
                wire::epoch(fields.word(1)).map_err(|_| self.connection.nonsense("a log head without an epoch"))?;
            match fields.word(8) {
                "" => return Err(self.connection.nonsense("a log without the identity of its cluster")),
                identity if application.set_identity(identity) => self.shared.receivers_changed.notify_one(),
                _ => {}
            }
            let dead = 10 + head_query.left.len();
            application.head.send_replace(Some(LogHead {
                run: Arc::clone(&self.connection.run_id),
                epoch,
                top: fields.number(2),
                asked,
                head_query,
                kept: fields.word(3).parse().ok(),
                good: fields.word(4).parse().ok(),
                counts: wire::counts(fields.word(9)).unwrap_or_default(),
                lost: (10..dead).map(|place| fields.number(place)).collect(),
                skipped: fields.number(6),
            }));
            if fields.word(5) == "1" {
                application.counts_changed.notify_one();
            }
            for _ in 0..fields.number(7) {
                self.shared.deliver.no_receiver(&application.name, "");
            }
            self.note_dead(application, fields.rest(dead));
        }
        Ok(())
    }

    /// Queues nodes whose lease has expired for reaping. Only a node that has been connected for a whole lease may do
    /// so: when the server comes back after an outage, every lease has expired, and live nodes renew theirs first.
    fn note_dead<'a>(&self, application: &Arc<RedisApplication>, owners: impl Iterator<Item = &'a str>) {
        if self.connection.since().elapsed() <= self.shared.options.lease {
            return;
        }
        for owner in owners {
            self.shared.dead.push(application, owner);
        }
    }

    /// Reaps dead nodes.
    pub(in crate::backends::redis) async fn reap(&self) -> RedisProblem {
        loop {
            let (application, owner) = self.shared.dead.next().await;
            if let Err(problem) = self.reap_one(&application, &owner).await {
                return problem;
            }
        }
    }

    async fn reap_one(&self, application: &RedisApplication, owner: &str) -> Result<(), RedisProblem> {
        let mut sessions = 0;
        loop {
            let mut call = application.call_log(self.connection, Script::Reap);
            self.shared.bounds.add_to(&mut call);
            call.arg(owner).arg(REAP);
            let fields = self.connection.query(call).await?;
            sessions += fields.number(1);
            for _ in 0..fields.number(2) {
                self.shared.deliver.no_receiver(&application.name, "");
            }
            match fields.word(0) {
                "more" => {}
                "ok" => break,
                "alive" => return Ok(()),
                _ => return Err(self.connection.fenced()),
            }
        }
        application.counts_changed.notify_one();
        if sessions > 0 {
            log::warn!(
                application = application.name, owner, sessions;
                "removed the sessions of a node whose lease has ended"
            );
        }
        Ok(())
    }

    /// Broadcasts an application's counts when they have changed.
    pub(in crate::backends::redis) async fn tell_counts(&self, application: &RedisApplication) -> RedisProblem {
        let types = ClientTypes::from(ClientType::Bot);
        loop {
            application.counts_changed.notified().await;
            loop {
                let mut call = application.call_log(self.connection, Script::Counts);
                call.arg(millis(self.shared.options.count_interval));
                self.shared.bounds.add_to(&mut call);
                call.arg(types.bits()).arg(GuildCount::NAME);
                match self.connection.query(call).await {
                    Ok(fields) if fields.word(0) == "later" => sleep(Duration::from_millis(fields.number(1))).await,
                    Ok(fields) if fields.word(0) == "fenced" => return self.connection.fenced(),
                    Ok(_) => break,
                    Err(problem) => return problem,
                }
            }
        }
    }
}
