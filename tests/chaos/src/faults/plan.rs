//! A cluster, its clients, and the order of a run.

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
    recorder::Recorder,
    report::FaultRow,
    shard::ShardClient,
    table::{GUILDS, SHARDS},
};
use crate::checker::{ClientKind, FaultVerdict};

/// How long everybody may take to be there, at the beginning and after the last fault.
const CONNECT_TIME: Duration = Duration::from_secs(40);
/// How long everything that was accepted may take to arrive.
const SETTLE: Duration = Duration::from_secs(40);
/// How long nobody may have received anything at the end, so that what comes twice has come.
const QUIET: Duration = Duration::from_millis(700);
/// How long is sent on after the last fault.
const SEND_AFTER: Duration = Duration::from_millis(500);
/// How often it is looked.
const POLL: Duration = Duration::from_millis(100);

/// What is to be run. The seed decides the moments, the rates and who is hit.
#[derive(Debug, Clone, Copy)]
pub struct FaultPlan {
    /// What goes wrong, again and again.
    pub fault: ClusterFault,
    /// What decides everything else.
    pub seed: u64,
    /// How long events are sent, at least; the last fault is over before the end.
    pub time: Duration,
    /// How long each fault lasts, where the seed is not to decide that.
    pub hold: Option<Duration>,
    /// How often it goes wrong at most.
    pub strikes: u32,
    /// What connects the nodes.
    pub backing: Backing,
}

impl FaultPlan {
    /// Runs it to its end and judges it.
    pub async fn run(self) -> FaultRow {
        let mut rng = Rng::with_seed(self.seed);
        let recorder = Recorder::new();
        let mut cluster = TestCluster::start(self.backing, self.fault.directives(), recorder.clone()).await;
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
            shards,
            publishers,
        } = Participants::generate(self.backing.nodes(), self.fault.has_one_bot(), &mut rng);
        let counts = (members.len(), shards.len());
        // Both are aborted when they are dropped.
        let (mut clients, mut publishing) = (JoinSet::new(), JoinSet::new());
        for member in members {
            clients.spawn(member.run(context.clone()));
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
        // Each of them has an end of its own.
        while publishing.join_next().await.is_some_and(|ended| ended.is_ok()) {}
        let verdict = wait_until_settled(&recorder, &cluster).await;
        failures.extend(cluster.faults());
        failures.extend(recorder.complaints());
        if verdict.gone > 0 && !self.fault.loses_entries() {
            failures.push("nodes say that Redis has lost entries, and it has kept all".to_owned());
        }
        FaultRow {
            fault: self.fault.name(),
            seed: self.seed,
            verdict,
            resumed: recorder.resumed(),
            longest_gap_ms: u64::try_from(recorder.longest_gap(from, to).as_millis()).unwrap_or(u64::MAX),
            failures,
            past: cluster.actions().to_vec(),
            logs: cluster.logs(),
        }
    }
}

/// Who takes part.
struct Participants {
    members: Vec<MemberClient>,
    shards: Vec<ShardClient>,
    publishers: Vec<HttpPublisher>,
}

impl Participants {
    /// At each node three bots, two websites of which one sends, the shards of a bot that speaks Discord's protocol and
    /// one session that has all guilds, and a publisher. With `has_one_bot`, one bot that reports all guilds takes the
    /// place of the others.
    fn generate(nodes: usize, has_one_bot: bool, rng: &mut Rng) -> Self {
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
                rate: rng.u32(10..40),
                rng: rng.fork(),
            });
        }
        Self {
            members,
            shards,
            publishers,
        }
    }
}

/// Waits until every member has a session and what it reported is in force, and every shard has its session. Who is late
/// is a failure.
async fn wait_for_clients(recorder: &Recorder, (members, shards): (usize, usize), failure: &str) -> Vec<String> {
    let deadline = Instant::now() + CONNECT_TIME;
    loop {
        let missing = recorder.missing(members);
        let adrift: Vec<_> = (0..shards).filter(|client| !recorder.is_attached(*client)).collect();
        if missing.is_empty() && adrift.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            let members = missing.into_iter().map(|member| format!("member {member} {failure}"));
            let shards = adrift
                .into_iter()
                .map(|client| format!("client {client} of Discord's protocol {failure}"));
            return members.chain(shards).collect();
        }
        sleep(POLL).await;
    }
}

/// Waits until nothing is missing and nothing comes any more.
async fn wait_until_settled(recorder: &Recorder, cluster: &TestCluster) -> FaultVerdict {
    let deadline = Instant::now() + SETTLE;
    loop {
        if recorder.idle_time() > QUIET {
            cluster.note_losses();
            let verdict = recorder.verdict();
            if verdict.lost + verdict.silent == 0 || Instant::now() > deadline {
                return verdict;
            }
        }
        sleep(POLL).await;
    }
}
