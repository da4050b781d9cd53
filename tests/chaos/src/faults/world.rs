//! A cluster, its clients, and the order of a run.

use std::time::Duration;

use fastrand::Rng;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    book::Book,
    cluster::{Backing, Cluster},
    fault::Fault,
    member::Member,
    publisher::Publisher,
    report::Row,
    shard::ShardClient,
    stage::{Phase, Stage},
    table::{GUILDS, SHARDS},
};
use crate::checker::{Kind, Verdict};

/// How long everybody may take to be there, at the beginning and after the last fault.
const GATHER: Duration = Duration::from_secs(40);
/// How long everything that was accepted may take to arrive.
const SETTLE: Duration = Duration::from_secs(40);
/// How long nobody may have received anything at the end, so that what comes twice has come.
const QUIET: Duration = Duration::from_millis(700);
/// How long is sent on after the last fault.
const AFTER: Duration = Duration::from_millis(500);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be run. The seed decides the moments, the rates and who is hit.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// What goes wrong, again and again.
    pub fault: Fault,
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

impl World {
    /// Runs it to its end and judges it.
    pub async fn run(self) -> Row {
        let mut rng = Rng::with_seed(self.seed);
        let book = Book::new();
        let mut cluster = Cluster::start(self.backing, self.fault.directives(), book.clone()).await;
        let phase = watch::Sender::new(Phase::Gathering);
        let stage = Stage {
            book: book.clone(),
            phase: phase.subscribe(),
            doors: cluster.doors(),
            bots_may_come: cluster.bots_may_come(),
            reports: cluster.reports(),
        };
        let Cast {
            members,
            shards,
            publishers,
        } = Cast::draw(self.backing.nodes(), self.fault.has_one_bot(), &mut rng);
        let counts = (members.len(), shards.len());
        // Both are aborted when they are dropped.
        let (mut living, mut publishing) = (JoinSet::new(), JoinSet::new());
        for member in members {
            living.spawn(member.live(stage.clone()));
        }
        for shard in shards {
            living.spawn(shard.live(stage.clone()));
        }
        for publisher in publishers {
            publishing.spawn(publisher.publish(stage.clone()));
        }
        let mut failures = everybody(&book, counts, "never came").await;
        let from = Instant::now();
        phase.send_replace(Phase::Sending);
        let mut strikes = self.strikes;
        while from.elapsed() < self.time {
            sleep(Duration::from_millis(rng.u64(200..1000))).await;
            if strikes > 0 {
                strikes -= 1;
                self.fault.strike(&mut cluster, self.hold, &mut rng).await;
            }
        }
        phase.send_replace(Phase::Returning);
        failures.extend(everybody(&book, counts, "did not come back").await);
        sleep(AFTER).await;
        let to = Instant::now();
        phase.send_replace(Phase::Settling);
        // Each of them has an end of its own.
        while publishing.join_next().await.is_some_and(|ended| ended.is_ok()) {}
        let verdict = settled(&book, &cluster).await;
        failures.extend(cluster.faults());
        failures.extend(book.complaints());
        if verdict.gone > 0 && !self.fault.loses_entries() {
            failures.push("nodes say that Redis has lost entries, and it has kept all".to_owned());
        }
        Row {
            fault: self.fault.name(),
            seed: self.seed,
            verdict,
            resumed: book.resumed(),
            longest_gap_ms: u64::try_from(book.longest_gap(from, to).as_millis()).unwrap_or(u64::MAX),
            failures,
            past: cluster.past().to_vec(),
            logs: cluster.logs(),
        }
    }
}

/// Who takes part.
struct Cast {
    members: Vec<Member>,
    shards: Vec<ShardClient>,
    publishers: Vec<Publisher>,
}

impl Cast {
    /// At each node three bots, two websites of which one sends, the shards of a bot that speaks Discord's protocol and
    /// one session that has all guilds, and a publisher. With `has_one_bot`, one bot that reports all guilds takes the
    /// place of the others.
    fn draw(nodes: usize, has_one_bot: bool, rng: &mut Rng) -> Self {
        let (mut members, mut shards, mut publishers) = (Vec::new(), Vec::new(), Vec::new());
        for home in 0..nodes {
            for part in 0..5 {
                let kind = if part < 3 { Kind::Bot } else { Kind::Website };
                if has_one_bot && kind == Kind::Bot && (home, part) != (0, 0) {
                    continue;
                }
                let guilds = match kind {
                    Kind::Bot if has_one_bot => GUILDS.collect(),
                    Kind::Bot => rng.choose_multiple(GUILDS, 3),
                    _ => Vec::new(),
                };
                members.push(Member {
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
            publishers.push(Publisher {
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
async fn everybody(book: &Book, (members, shards): (usize, usize), failure: &str) -> Vec<String> {
    let deadline = Instant::now() + GATHER;
    loop {
        let missing = book.missing(members);
        let adrift: Vec<_> = (0..shards).filter(|client| !book.has_attached(*client)).collect();
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
        sleep(LOOK).await;
    }
}

/// Waits until nothing is missing and nothing comes any more.
async fn settled(book: &Book, cluster: &Cluster) -> Verdict {
    let deadline = Instant::now() + SETTLE;
    loop {
        if book.quiet() > QUIET {
            cluster.note_losses();
            let verdict = book.verdict();
            if verdict.lost + verdict.silent == 0 || Instant::now() > deadline {
                return verdict;
            }
        }
        sleep(LOOK).await;
    }
}
