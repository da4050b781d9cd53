//! The workers, which take jobs and do most of them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use fastrand::Rng;
use gateway_harness::key;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep},
};

use super::{ACK_TIMEOUT_MS, NodeAddresses, is_poison, ledger::Ledger};
use crate::{
    checker::ClientKind,
    socket::{SocketEvent, V1Socket},
};

/// The pause before a worker connects again.
const BACKOFF: Duration = Duration::from_millis(100);
/// The interval of heartbeats, far more often than a node requires.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The longest that a job takes, in milliseconds.
const WORK_MS: u64 = 100;
/// How long a job counts as held that the worker has forgotten. The gateway counts from the moment at which it chose the
/// worker. If Redis went away right then, the job arrives seconds later.
const HELD: Duration = Duration::from_millis(ACK_TIMEOUT_MS / 5);

/// One worker, which connects again and again.
pub(super) struct JobWorker {
    pub(super) index: usize,
    pub(super) nodes: NodeAddresses,
    /// Where it connects in place of a node, if it has a line of its own.
    pub(super) line: Option<SocketAddr>,
    pub(super) at_once: u16,
    pub(super) ledger: Ledger,
}

/// What a worker does with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Acknowledge,
    GiveBack,
    Forget,
}

/// A job in the hands of a worker.
struct HeldJob {
    number: u64,
    since: Instant,
}

impl JobWorker {
    pub(super) async fn run(self, mut rng: Rng) {
        loop {
            let nodes = *self.nodes.borrow();
            let mine = nodes[self.index % nodes.len()].or_else(|| nodes.into_iter().flatten().next());
            if let Some(node) = self.line.or(mine) {
                let d = json!({ "type": "bot", "key": key("bot"), "jobs": self.at_once });
                if let Some((socket, _)) = V1Socket::open_with(node, ClientKind::Bot, &d).await {
                    self.serve(socket, &mut rng).await;
                }
            }
            sleep(BACKOFF).await;
        }
    }

    /// Does the jobs of one connection until it ends.
    async fn serve(&self, mut socket: V1Socket, rng: &mut Rng) {
        let (done, mut finished) = mpsc::unbounded_channel::<(String, Verdict)>();
        let mut held: BTreeMap<String, HeldJob> = BTreeMap::new();
        let mut heartbeat = interval(HEARTBEAT);
        loop {
            let packet = tokio::select! {
                _ = heartbeat.tick() => json!({ "op": 10 }),
                Some((receipt, verdict)) = finished.recv() => {
                    let Some(job) = held.remove(&receipt) else { continue };
                    if verdict == Verdict::GiveBack {
                        json!({ "op": 1, "t": "nack", "r": receipt, "d": { "delay_ms": 100 } })
                    } else {
                        self.ledger.acknowledged(job.number);
                        json!({ "op": 1, "t": "ack", "r": receipt, "n": job.number })
                    }
                }
                event = socket.next() => match event {
                    SocketEvent::Payload(payload) => {
                        if payload["t"] == "event_accepted" && let Some(number) = payload["n"].as_u64() {
                            self.ledger.confirmed(number);
                        } else if let Some((receipt, number)) = job(&payload) {
                            held.retain(|_, job| job.since.elapsed() < HELD);
                            held.insert(receipt.clone(), HeldJob { number, since: Instant::now() });
                            self.ledger.delivered(number, held.len(), self.at_once);
                            let verdict = match rng.u64(..100) {
                                _ if is_poison(number) => Verdict::GiveBack,
                                0 => Verdict::Forget,
                                1..5 => Verdict::GiveBack,
                                _ => Verdict::Acknowledge,
                            };
                            if verdict != Verdict::Forget {
                                let (done, work) = (done.clone(), Duration::from_millis(rng.u64(..WORK_MS)));
                                tokio::spawn(async move {
                                    sleep(work).await;
                                    // The connection may have ended meanwhile.
                                    let _ = done.send((receipt, verdict));
                                });
                            }
                        }
                        continue;
                    }
                    SocketEvent::Ended(_) => return,
                },
            };
            if socket.send(&packet).await.is_none() {
                return;
            }
        }
    }
}

/// Returns the receipt and the number of a job, or `None` if the payload is something else.
fn job(payload: &Value) -> Option<(String, u64)> {
    let receipt = payload["r"].as_str()?;
    Some((receipt.to_owned(), payload["d"]["number"].as_u64()?))
}
