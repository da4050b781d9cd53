//! The course of a run: starts Redis, the nodes and the clients, and injects troubles until there are enough ids.

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
    client::{HandshakeBytes, IdClient},
    ledger::{IdLedger, Issuance},
    nodes::IdNodes,
    redis::IdRedis,
    report::{IdReport, NodeRow},
    trouble::{Trouble, TroubleCycle, up_to},
};

/// How long a node may take to let a client in. A node that is suspended never does.
pub(super) const ACCEPT_TIME: Duration = Duration::from_secs(2);
/// The lease of a node.
const LEASE: Duration = Duration::from_secs(2);
/// The longest pause between two troubles of the nodes, and of Redis. Redis gets more time, since a new lease holder
/// waits for as long as a lease lasts.
const CALM: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long a node may issue no id, during troubles and after them.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a run may take: a fixed time, and a time for each id.
const TIME: (Duration, Duration) = (Duration::from_secs(180), Duration::from_millis(10));
/// How often conditions are checked.
const POLL: Duration = Duration::from_millis(50);
/// The number of local addresses that the clients connect from.
const SOURCES: u8 = 16;

/// Describes a run. The seed decides the moments and which nodes are affected.
#[derive(Debug, Clone, Copy)]
pub struct IdPlan {
    /// The number of ids to request.
    pub ids: usize,
    /// The number of nodes.
    pub nodes: usize,
    /// How often each trouble occurs, at least.
    pub times: u64,
    /// The number of clients that request ids at the same time.
    pub clients: usize,
    /// Decides everything else.
    pub seed: u64,
}

/// The ledger of a run, shared by all clients and servers.
#[derive(Debug, Clone)]
pub(super) struct SharedIdLedger {
    ledger: Arc<Mutex<IdLedger>>,
    began: Instant,
}

impl SharedIdLedger {
    fn new(nodes: usize) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(IdLedger::new(nodes))),
            began: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdLedger> {
        self.ledger.lock().expect("no thread panics while it holds the lock")
    }

    fn at_ms(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// Records that a node issued an id.
    pub(super) fn add_id(&self, id: u64, node: usize, run: u16) {
        let issuance = Issuance {
            node: u16::try_from(node).unwrap_or(u16::MAX),
            run,
            at_ms: self.at_ms(),
        };
        self.lock().add_id(id, issuance);
    }

    /// Records a connection that ended before its session had an id.
    pub(super) fn add_refusal(&self, why: String) {
        self.lock().add_refusal(why);
    }

    /// Records an action that is carried out now.
    pub(super) fn note(&self, what: impl Display) {
        let line = format!("{} ms: {what}", self.at_ms());
        self.lock().past.push(line);
    }

    /// Counts a trouble that is over.
    pub(super) fn add_trouble(&self, trouble: Trouble) {
        self.lock().add_trouble(trouble);
    }
}

impl IdPlan {
    /// Carries out the run.
    pub async fn run(self) -> IdReport {
        let mut rng = Rng::with_seed(self.seed);
        let ledger = SharedIdLedger::new(self.nodes);
        let mut redis = IdRedis::start(ledger.clone()).await;
        let mut nodes = IdNodes::start(self.nodes, &redis.url(), LEASE, ledger.clone()).await;
        // Dropping it aborts the clients.
        let mut clients = self.spawn_clients(&nodes, &ledger, &mut rng);
        let mut failures = self.wait_for_ids(&ledger, ledger.at_ms(), "at the beginning").await;
        let (mut of_nodes, mut of_redis) = (rng.fork(), rng.fork());
        let failure = tokio::select! {
            ((), ()) = async { tokio::join!(
                async {
                    let mut troubles = TroubleCycle::new(&Trouble::OF_NODES);
                    while !self.is_done(&ledger) {
                        sleep(up_to(CALM.0, &mut of_nodes)).await;
                        nodes.inject(troubles.next(&mut of_nodes), &mut of_nodes).await;
                    }
                },
                async {
                    let mut troubles = TroubleCycle::new(&Trouble::OF_REDIS);
                    while !self.is_done(&ledger) {
                        sleep(up_to(CALM.1, &mut of_redis)).await;
                        redis.inject(troubles.next(&mut of_redis), &mut of_redis).await;
                    }
                },
            ) } => None,
            failure = self.watch(&ledger) => Some(failure),
        };
        let seconds = ledger.began.elapsed().as_secs_f64();
        if failure.is_none() {
            failures.extend(
                self.wait_for_ids(&ledger, ledger.at_ms(), "after the last trouble")
                    .await,
            );
        }
        failures.extend(failure);
        if let Some(Err(error)) = clients.try_join_next() {
            failures.push(format!("a visitor gave up: {error}"));
        }
        clients.abort_all();
        failures.extend(nodes.faults());
        self.report(&ledger, seconds, failures, nodes.logs())
    }

    fn spawn_clients(&self, nodes: &IdNodes, ledger: &SharedIdLedger, rng: &mut Rng) -> JoinSet<()> {
        let handshake = Arc::new(HandshakeBytes::new());
        let mut clients = JoinSet::new();
        let sources = (1..=SOURCES).cycle();
        for (number, source) in (0..self.clients).zip(sources) {
            let client = IdClient {
                home: number % self.nodes,
                source: Ipv4Addr::new(127, 0, 0, source),
                rng: rng.fork(),
            };
            clients.spawn(client.run(Arc::clone(&handshake), nodes.endpoints(), ledger.clone()));
        }
        clients
    }

    /// Whether there were enough ids and enough troubles.
    fn is_done(&self, ledger: &SharedIdLedger) -> bool {
        let locked = ledger.lock();
        locked.ids() >= self.ids && Trouble::all().all(|trouble| locked.times(trouble) >= self.times)
    }

    /// Waits until every node has issued an id after this time. Returns a failure for each node that is late.
    async fn wait_for_ids(&self, ledger: &SharedIdLedger, after_ms: u32, when: &str) -> Vec<String> {
        let deadline = Instant::now() + SILENCE;
        loop {
            let silent: Vec<usize> = {
                let locked = ledger.lock();
                let is_silent = |index: &usize| locked.nodes[*index].last_ms <= after_ms;
                (0..self.nodes).filter(is_silent).collect()
            };
            if silent.is_empty() {
                return Vec::new();
            }
            if Instant::now() > deadline {
                let describe = |node| format!("node-{node} told no id {when}, for {} s", SILENCE.as_secs());
                return silent.into_iter().map(describe).collect();
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a node has been silent for too long or the run has taken too long, and returns which.
    async fn watch(&self, ledger: &SharedIdLedger) -> String {
        let ids = u32::try_from(self.ids).unwrap_or(u32::MAX);
        let deadline = ledger.began + TIME.0 + TIME.1 * ids;
        loop {
            sleep(POLL).await;
            let now_ms = u128::from(ledger.at_ms());
            let locked = ledger.lock();
            let is_silent = |last_ms: u32| now_ms.saturating_sub(last_ms.into()) > SILENCE.as_millis();
            if let Some(index) = locked.nodes.iter().position(|node| is_silent(node.last_ms)) {
                return format!("node-{index} has told no id for {} s", SILENCE.as_secs());
            }
            if Instant::now() > deadline {
                return format!("only {} ids in {:?}", locked.ids(), ledger.began.elapsed());
            }
        }
    }

    fn report(&self, ledger: &SharedIdLedger, seconds: f64, mut failures: Vec<String>, logs: Vec<String>) -> IdReport {
        let locked = ledger.lock();
        // The code a node closes with when it could not claim an id because each one it made belonged to another live
        // session.
        let used = locked.refusals.get("close 4002").copied().unwrap_or_default();
        if used > 0 {
            failures.push(format!("{used} times a node made ids that were in use"));
        }
        let row = |(index, node): (usize, &super::ledger::NodeIds)| NodeRow {
            node: format!("node-{index}"),
            ids: node.ids,
            longest_silence_ms: node.longest_silence_ms,
        };
        IdReport {
            seed: self.seed,
            lease_ms: LEASE.as_millis(),
            wanted: self.ids,
            ids: locked.ids(),
            duplicates: locked.duplicates,
            doubled: locked.kept.clone(),
            seconds,
            nodes: locked.nodes.iter().enumerate().map(row).collect(),
            troubles: Trouble::all().map(|trouble| (trouble, locked.times(trouble))).collect(),
            refusals: locked.refusals.clone(),
            failures,
            past: locked.past.clone(),
            logs,
        }
    }
}
