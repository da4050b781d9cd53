//! Nodes, their Redis, those who want ids, and the order of a run.

use std::{
    fmt::Display,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    nodes::Nodes,
    report::{NodeRow, Report},
    server::Server,
    tally::{Tally, Telling},
    trouble::{Deck, Trouble, up_to},
    visitor::{Lines, Visitor},
};

/// How long a node may take to let a visitor in. One that is stopped takes for ever.
pub(super) const LET_IN: Duration = Duration::from_secs(2);
/// How long a node's lease lasts.
const LEASE: Duration = Duration::from_secs(2);
/// How long at most nothing goes wrong with the nodes, and how long with Redis: a new holder waits for a lease's time.
const PEACE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long a node may tell no id while things go wrong, and after that.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a run may take: so much, and this for each id.
const TIME: (Duration, Duration) = (Duration::from_secs(180), Duration::from_millis(10));
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// From how many addresses the visitors come.
const SOURCES: u8 = 16;

/// What is to be run. The seed decides the moments and who is hit.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// How many ids are wanted.
    pub ids: usize,
    /// How many nodes tell them.
    pub nodes: usize,
    /// How often each trouble comes at least.
    pub times: u64,
    /// How many want ids at the same time.
    pub visitors: usize,
    /// What decides everything else.
    pub seed: u64,
}

/// The tally of a run, shared by all who write.
#[derive(Debug, Clone)]
pub(super) struct Book {
    tally: Arc<Mutex<Tally>>,
    began: Instant,
}

impl Book {
    fn new(nodes: usize) -> Self {
        Self {
            tally: Arc::new(Mutex::new(Tally::new(nodes))),
            began: Instant::now(),
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nobody panics with the book open")
    }

    fn at_ms(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// A node has told an id.
    pub(super) fn told(&self, id: u64, node: usize, life: u16) {
        let telling = Telling {
            node: u16::try_from(node).unwrap_or(u16::MAX),
            life,
            at_ms: self.at_ms(),
        };
        self.tally().told(id, telling);
    }

    /// A visit brought no id.
    pub(super) fn refused(&self, why: String) {
        self.tally().refused(why);
    }

    /// Notes what is done now.
    pub(super) fn note(&self, what: impl Display) {
        let line = format!("{} ms: {what}", self.at_ms());
        self.tally().past.push(line);
    }

    /// A trouble is over.
    pub(super) fn done(&self, trouble: Trouble) {
        self.tally().done(trouble);
    }
}

impl World {
    /// Runs it to its end.
    pub async fn run(self) -> Report {
        let mut rng = Rng::with_seed(self.seed);
        let book = Book::new(self.nodes);
        let mut server = Server::start(book.clone()).await;
        let mut nodes = Nodes::start(self.nodes, &server.url(), LEASE, book.clone()).await;
        // They are aborted when it is dropped.
        let mut visitors = self.visitors(&nodes, &book, &mut rng);
        let mut failures = self.heard_by(&book, book.at_ms(), "at the beginning").await;
        let (mut of_nodes, mut of_redis) = (rng.fork(), rng.fork());
        let failure = tokio::select! {
            ((), ()) = async { tokio::join!(
                async {
                    let mut deck = Deck::new(&Trouble::OF_NODES);
                    while !self.is_done(&book) {
                        sleep(up_to(PEACE.0, &mut of_nodes)).await;
                        nodes.strike(deck.next(&mut of_nodes), &mut of_nodes).await;
                    }
                },
                async {
                    let mut deck = Deck::new(&Trouble::OF_REDIS);
                    while !self.is_done(&book) {
                        sleep(up_to(PEACE.1, &mut of_redis)).await;
                        server.strike(deck.next(&mut of_redis), &mut of_redis).await;
                    }
                },
            ) } => None,
            failure = self.watch(&book) => Some(failure),
        };
        let seconds = book.began.elapsed().as_secs_f64();
        if failure.is_none() {
            failures.extend(self.heard_by(&book, book.at_ms(), "after the last trouble").await);
        }
        failures.extend(failure);
        if let Some(Err(error)) = visitors.try_join_next() {
            failures.push(format!("a visitor gave up: {error}"));
        }
        visitors.abort_all();
        failures.extend(nodes.faults());
        self.report(&book, seconds, failures, nodes.logs())
    }

    fn visitors(&self, nodes: &Nodes, book: &Book, rng: &mut Rng) -> JoinSet<()> {
        let lines = Arc::new(Lines::new());
        let mut visitors = JoinSet::new();
        let sources = (1..=SOURCES).cycle();
        for (number, source) in (0..self.visitors).zip(sources) {
            let visitor = Visitor {
                home: number % self.nodes,
                source: Ipv4Addr::new(127, 0, 0, source),
                rng: rng.fork(),
            };
            visitors.spawn(visitor.live(Arc::clone(&lines), nodes.doors(), book.clone()));
        }
        visitors
    }

    /// Whether there are enough ids, and there was enough trouble.
    fn is_done(&self, book: &Book) -> bool {
        let tally = book.tally();
        tally.ids() >= self.ids && Trouble::all().all(|trouble| tally.times(trouble) >= self.times)
    }

    /// Waits until every node has told an id later than this. Who has not in time is a failure.
    async fn heard_by(&self, book: &Book, after_ms: u32, when: &str) -> Vec<String> {
        let deadline = Instant::now() + SILENCE;
        loop {
            let silent: Vec<usize> = {
                let tally = book.tally();
                let is_silent = |index: &usize| tally.nodes[*index].last_ms <= after_ms;
                (0..self.nodes).filter(is_silent).collect()
            };
            if silent.is_empty() {
                return Vec::new();
            }
            if Instant::now() > deadline {
                let told = |node| format!("node-{node} told no id {when}, for {} s", SILENCE.as_secs());
                return silent.into_iter().map(told).collect();
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until there is no hope any more, and says why.
    async fn watch(&self, book: &Book) -> String {
        let ids = u32::try_from(self.ids).unwrap_or(u32::MAX);
        let deadline = book.began + TIME.0 + TIME.1 * ids;
        loop {
            sleep(LOOK).await;
            let now_ms = u128::from(book.at_ms());
            let tally = book.tally();
            let is_silent = |last_ms: u32| now_ms.saturating_sub(last_ms.into()) > SILENCE.as_millis();
            if let Some(index) = tally.nodes.iter().position(|node| is_silent(node.last_ms)) {
                return format!("node-{index} has told no id for {} s", SILENCE.as_secs());
            }
            if Instant::now() > deadline {
                return format!("only {} ids in {:?}", tally.ids(), book.began.elapsed());
            }
        }
    }

    fn report(&self, book: &Book, seconds: f64, mut failures: Vec<String>, logs: Vec<String>) -> Report {
        let tally = book.tally();
        // What a node says when an id was another session's three times.
        let used = tally.refusals.get("close 4002").copied().unwrap_or_default();
        if used > 0 {
            failures.push(format!("{used} times a node made ids that were in use"));
        }
        let row = |(index, node): (usize, &super::tally::NodeTally)| NodeRow {
            node: format!("node-{index}"),
            ids: node.ids,
            longest_silence_ms: node.longest_silence_ms,
        };
        Report {
            seed: self.seed,
            lease_ms: LEASE.as_millis(),
            wanted: self.ids,
            ids: tally.ids(),
            duplicates: tally.duplicates,
            doubled: tally.kept.clone(),
            seconds,
            nodes: tally.nodes.iter().enumerate().map(row).collect(),
            troubles: Trouble::all().map(|trouble| (trouble, tally.times(trouble))).collect(),
            refusals: tally.refusals.clone(),
            failures,
            past: tally.past.clone(),
            logs,
        }
    }
}
