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
    publisher::{GUILDS, Publisher},
    report::Row,
    stage::{Phase, Stage},
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
    /// What connects the nodes.
    pub backing: Backing,
}

impl World {
    /// Runs it to its end and judges it.
    pub async fn run(self) -> Row {
        let mut rng = Rng::with_seed(self.seed);
        let book = Book::new();
        let mut cluster = Cluster::start(self.backing, book.clone()).await;
        let phase = watch::Sender::new(Phase::Gathering);
        let stage = Stage {
            book: book.clone(),
            phase: phase.subscribe(),
            doors: cluster.doors(),
            reports: cluster.reports(),
        };
        let (members, publishers) = cast(self.backing.nodes(), &mut rng);
        let count = members.len();
        // Both are aborted when they are dropped.
        let (mut living, mut publishing) = (JoinSet::new(), JoinSet::new());
        for member in members {
            living.spawn(member.live(stage.clone()));
        }
        for publisher in publishers {
            publishing.spawn(publisher.publish(stage.clone()));
        }
        let mut failures = everybody(&book, count, "never came").await;
        let from = Instant::now();
        phase.send_replace(Phase::Sending);
        while from.elapsed() < self.time {
            sleep(Duration::from_millis(rng.u64(200..1000))).await;
            self.fault.strike(&mut cluster, self.hold, &mut rng).await;
        }
        failures.extend(everybody(&book, count, "did not come back").await);
        sleep(AFTER).await;
        let to = Instant::now();
        phase.send_replace(Phase::Settling);
        // Each of them has an end of its own.
        while publishing.join_next().await.is_some_and(|ended| ended.is_ok()) {}
        let verdict = settled(&book, &cluster).await;
        failures.extend(cluster.faults());
        if verdict.gone > 0 && self.fault != Fault::RedisTruncated {
            failures.push("nodes say that Redis has lost entries, and it has kept all".to_owned());
        }
        Row {
            fault: self.fault.name(),
            seed: self.seed,
            verdict,
            longest_gap_ms: u64::try_from(book.longest_gap(from, to).as_millis()).unwrap_or(u64::MAX),
            failures,
            past: cluster.past().to_vec(),
            logs: cluster.logs(),
        }
    }
}

/// Who takes part: at each node three bots, two websites of which one sends, and a publisher.
fn cast(nodes: usize, rng: &mut Rng) -> (Vec<Member>, Vec<Publisher>) {
    let mut members = Vec::new();
    let mut publishers = Vec::new();
    for home in 0..nodes {
        for part in 0..5 {
            let kind = if part < 3 { Kind::Bot } else { Kind::Website };
            let guilds = match kind {
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
        publishers.push(Publisher {
            home,
            rate: rng.u32(10..40),
            rng: rng.fork(),
        });
    }
    (members, publishers)
}

/// Waits until every member has a session and what it reported is in force. Who is late is a failure.
async fn everybody(book: &Book, members: usize, failure: &str) -> Vec<String> {
    let deadline = Instant::now() + GATHER;
    loop {
        let missing = book.missing(members);
        if missing.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            let told = |member| format!("member {member} {failure}");
            return missing.into_iter().map(told).collect();
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
