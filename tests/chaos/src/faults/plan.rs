//! The course of a run: starts a cluster and its clients, injects faults, and waits for everything to settle.

use std::time::Duration;

use fastrand::Rng;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    cluster::{Backing, TestCluster},
    context::{RunContext, RunPhase},
    fault::ClusterFault,
    member::MemberClient,
    publisher::HttpPublisher,
    reconnecting::ReconnectingClient,
    recorder::Recorder,
    report::FaultRow,
    shard::ShardClient,
    table::{GUILDS, SHARDS},
};
use crate::checker::{ClientKind, FaultVerdict};

/// How long the clients may take to connect, at the beginning and after the last fault.
const CONNECT_TIME: Duration = Duration::from_secs(40);
/// How long accepted events may take to arrive at the end.
const SETTLE: Duration = Duration::from_secs(40);
/// How long nothing must have been received at the end, so that duplicates have arrived.
const QUIET: Duration = Duration::from_millis(700);
/// How long sending continues after the last fault.
const SEND_AFTER: Duration = Duration::from_millis(500);
/// How often conditions are checked.
const POLL: Duration = Duration::from_millis(100);

/// Describes a run. The seed decides the moments, the rates, and which nodes are affected.
#[derive(Debug, Clone, Copy)]
pub struct FaultPlan {
    /// The fault that is injected again and again.
    pub fault: ClusterFault,
    /// Decides everything else.
    pub seed: u64,
    /// The least time for which events are sent; the last fault ends before that.
    pub time: Duration,
    /// How long each fault lasts; `None` leaves that to the seed.
    pub hold: Option<Duration>,
    /// The greatest number of faults.
    pub strikes: u32,
    /// How the nodes are connected.
    pub backing: Backing,
    /// How many events each publisher sends per second; `None` leaves that to the seed.
    pub rate: Option<u32>,
    /// The maximum number of entries in the log; `None` leaves the node's default. If entries are trimmed while clients
    /// are away, sessions may lose their place.
    pub log_entries: Option<u32>,
}

impl FaultPlan {
    /// Carries out the run and checks it.
    pub async fn run(self) -> FaultRow {
        let mut rng = Rng::with_seed(self.seed);
        let recorder = Recorder::new();
        let mut cluster = TestCluster::start(
            self.backing,
            self.fault.directives(),
            self.log_entries,
            recorder.clone(),
        )
        .await;
        let phase = watch::Sender::new(RunPhase::Connecting);
        let context = RunContext {
            recorder: recorder.clone(),
            phase: phase.subscribe(),
            endpoints: cluster.endpoints(),
            bots_admitted: cluster.bots_admitted(),
            reports: cluster.reports(),
        };
        let Participants {
            members,
            reconnecting,
            shards,
            publishers,
        } = Participants::generate(self, &mut rng);
        let counts = (members.len() + reconnecting.len(), shards.len());
        // Dropping them aborts their tasks.
        let (mut clients, mut publishing) = (JoinSet::new(), JoinSet::new());
        for member in members {
            clients.spawn(member.run(context.clone()));
        }
        for client in reconnecting {
            clients.spawn(client.run(context.clone()));
        }
        for shard in shards {
            clients.spawn(shard.run(context.clone()));
        }
        for publisher in publishers {
            publishing.spawn(publisher.publish(context.clone()));
        }
        let mut failures = wait_for_clients(&recorder, counts, "never came").await;
        let from = Instant::now();
        phase.send_replace(RunPhase::Sending);
        let mut strikes = self.strikes;
        while from.elapsed() < self.time {
            sleep(Duration::from_millis(rng.u64(200..1000))).await;
            if strikes > 0 {
                strikes -= 1;
                self.fault.inject(&mut cluster, self.hold, &mut rng).await;
            }
        }
        phase.send_replace(RunPhase::Reconnecting);
        failures.extend(wait_for_clients(&recorder, counts, "did not come back").await);
        sleep(SEND_AFTER).await;
        let to = Instant::now();
        phase.send_replace(RunPhase::Settling);
        // Each publisher ends by itself.
        while publishing.join_next().await.is_some_and(|ended| ended.is_ok()) {}
        let verdict = wait_until_settled(&recorder, &cluster).await;
        failures.extend(cluster.faults());
        failures.extend(recorder.complaints());
        if verdict.gone > 0 && !self.fault.loses_entries() {
            failures.push("nodes say that Redis has lost entries, and it has kept all".to_owned());
        }
        let catch_ups = recorder.catch_ups();
        if catch_ups.lost > 0 && !self.fault.loses_entries() {
            failures.push("clients were told that events are lost, and Redis has kept all".to_owned());
        }
        FaultRow {
            fault: self.fault.name(),
            seed: self.seed,
            verdict,
            resumed: recorder.resumed(),
            caught_up: catch_ups.complete,
            told_loss: catch_ups.lost,
            longest_gap_ms: u64::try_from(recorder.longest_gap(from, to).as_millis()).unwrap_or(u64::MAX),
            failures,
            past: cluster.actions().to_vec(),
            logs: cluster.logs(),
        }
    }
}

/// The clients of a run.
struct Participants {
    members: Vec<MemberClient>,
    reconnecting: Vec<ReconnectingClient>,
    shards: Vec<ShardClient>,
    publishers: Vec<HttpPublisher>,
}

impl Participants {
    /// Generates the clients. Each node gets three bots, two websites of which one sends, a website that reconnects all
    /// the time, a Discord bot with all its shards, one Discord session that has all guilds, and a publisher. If the
    /// fault has one bot, a single bot that reports all guilds replaces all bots of version 1.
    fn generate(plan: FaultPlan, rng: &mut Rng) -> Self {
        let (nodes, has_one_bot) = (plan.backing.nodes(), plan.fault.has_one_bot());
        let (mut members, mut shards, mut publishers) = (Vec::new(), Vec::new(), Vec::new());
        for home in 0..nodes {
            for part in 0..5 {
                let kind = if part < 3 { ClientKind::Bot } else { ClientKind::Website };
                if has_one_bot && kind == ClientKind::Bot && (home, part) != (0, 0) {
                    continue;
                }
                let guilds = match kind {
                    ClientKind::Bot if has_one_bot => GUILDS.collect(),
                    ClientKind::Bot => rng.choose_multiple(GUILDS, 3),
                    _ => Vec::new(),
                };
                members.push(MemberClient {
                    number: members.len(),
                    kind,
                    home,
                    guilds,
                    rate: if part == 4 { rng.u32(5..30) } else { 0 },
                    rng: rng.fork(),
                });
            }
            let of_many = (0..SHARDS).map(|shard| [shard, SHARDS]);
            for shard in of_many.chain([[0, 1]]) {
                shards.push(ShardClient {
                    number: shards.len(),
                    shard,
                    takes_messages: rng.bool(),
                    home,
                    rng: rng.fork(),
                });
            }
            publishers.push(HttpPublisher {
                home,
                rate: plan.rate.unwrap_or(rng.u32(10..40)),
                rng: rng.fork(),
            });
        }
        let reconnecting = (0..nodes).map(|home| ReconnectingClient {
            number: members.len() + home,
            home,
            guilds: rng.choose_multiple(GUILDS, 3),
            rng: rng.fork(),
        });
        Self {
            reconnecting: reconnecting.collect(),
            members,
            shards,
            publishers,
        }
    }
}

/// Waits until every member has a session whose reports are in force, and every shard has its session. Returns a
/// failure for each that is late.
async fn wait_for_clients(recorder: &Recorder, (members, shards): (usize, usize), failure: &str) -> Vec<String> {
    let deadline = Instant::now() + CONNECT_TIME;
    loop {
        let missing = recorder.missing(members);
        let detached: Vec<_> = (0..shards).filter(|client| !recorder.is_attached(*client)).collect();
        if missing.is_empty() && detached.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            let members = missing.into_iter().map(|member| format!("member {member} {failure}"));
            let shards = detached
                .into_iter()
                .map(|client| format!("client {client} of Discord's protocol {failure}"));
            return members.chain(shards).collect();
        }
        sleep(POLL).await;
    }
}

/// Waits until nothing is missing and nothing arrives any more.
async fn wait_until_settled(recorder: &Recorder, cluster: &TestCluster) -> FaultVerdict {
    let deadline = Instant::now() + SETTLE;
    loop {
        if recorder.idle_time() > QUIET {
            cluster.record_losses();
            let verdict = recorder.verdict();
            if verdict.lost + verdict.silent == 0 || Instant::now() > deadline {
                return verdict;
            }
        }
        sleep(POLL).await;
    }
}
