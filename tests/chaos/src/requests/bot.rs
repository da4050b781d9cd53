//! The bots that answer requests and lose their connections, and a stranger who answers for them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use gateway_harness::key;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};

use super::ledger::Ledger;
use crate::{
    checker::ClientKind,
    socket::{SocketEvent, V1Socket},
};

/// The pause before a bot connects again.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest that a bot takes to answer, in milliseconds.
const SLOW_MS: u64 = 500;

/// Where the nodes of the bots listen; `None` while one is down.
pub(super) type BotNodes = watch::Receiver<[Option<SocketAddr>; 2]>;

/// One bot, which connects again and again.
pub(super) struct RequestBot {
    pub(super) index: usize,
    pub(super) guild: u64,
    pub(super) nodes: BotNodes,
    pub(super) ledger: Ledger,
    /// Cuts its connection.
    pub(super) cut: Arc<Notify>,
    /// How many bots are connected.
    pub(super) connected: Arc<AtomicU64>,
    /// The receipts that it got, for the stranger.
    pub(super) receipts: mpsc::UnboundedSender<String>,
}

impl RequestBot {
    pub(super) async fn run(self, mut rng: Rng) {
        for connection in 0_u64.. {
            let nodes = *self.nodes.borrow();
            let open: Vec<_> = nodes.into_iter().flatten().collect();
            if let Some(node) = nodes[self.index % 2].or_else(|| open.first().copied()) {
                let d = json!({ "type": "bot", "key": key("bot"), "guilds": [self.guild.to_string()] });
                if let Some((socket, _)) = V1Socket::open_with(node, ClientKind::Bot, &d).await {
                    self.connected.fetch_add(1, Relaxed);
                    self.serve(socket, &format!("{}-{connection}", self.index), &mut rng)
                        .await;
                    self.connected.fetch_sub(1, Relaxed);
                }
            }
            sleep(BACKOFF).await;
        }
    }

    /// Answers the requests of one connection until it ends. `name` is different for each connection.
    async fn serve(&self, mut socket: V1Socket, name: &str, rng: &mut Rng) {
        let (later, mut due) = mpsc::unbounded_channel::<Value>();
        loop {
            tokio::select! {
                // Dropping the socket resets the connection.
                () = self.cut.notified() => return,
                Some(answer) = due.recv() => {
                    if socket.send(&answer).await.is_none() {
                        return;
                    }
                }
                event = socket.next() => match event {
                    SocketEvent::Payload(payload) => {
                        let (Some(receipt), Some(number)) = (payload["r"].as_str(), payload["d"]["number"].as_u64())
                        else {
                            continue;
                        };
                        self.ledger.given(number, name);
                        let _ = self.receipts.send(receipt.to_owned());
                        let d = json!({ "by": name, "number": number });
                        let (event, wait) = match rng.u64(..20) {
                            0 => continue,
                            1 => ("reply_error", 0),
                            2 | 3 => ("reply", rng.u64(..SLOW_MS)),
                            _ => ("reply", 0),
                        };
                        let answer = json!({ "op": 1, "t": event, "r": receipt, "d": d });
                        if wait > 0 {
                            let later = later.clone();
                            tokio::spawn(async move {
                                sleep(Duration::from_millis(wait)).await;
                                let _ = later.send(answer);
                            });
                        } else if socket.send(&answer).await.is_none() {
                            return;
                        }
                    }
                    SocketEvent::Ended(_) => return,
                },
            }
        }
    }
}

/// Answers requests that other sessions have, with their receipts and with made-up ones, until it is dropped.
pub(super) async fn stranger(nodes: BotNodes, mut receipts: mpsc::UnboundedReceiver<String>, mut rng: Rng) {
    loop {
        let node = nodes.borrow().iter().copied().flatten().next();
        let opened = match node {
            Some(node) => V1Socket::open(node, ClientKind::Service, &key("service")).await,
            None => None,
        };
        if let Some(mut socket) = opened {
            loop {
                tokio::select! {
                    event = socket.next() => {
                        if matches!(event, SocketEvent::Ended(_)) {
                            break;
                        }
                    }
                    receipt = receipts.recv() => {
                        let Some(receipt) = receipt else { return };
                        let made_up = format!("{:016x}{:016x}", rng.u64(..), rng.u64(..));
                        for receipt in [receipt, made_up] {
                            let d = json!({ "by": "a stranger", "number": 0 });
                            let reply = json!({ "op": 1, "t": "reply", "r": receipt, "d": d });
                            if socket.send(&reply).await.is_none() {
                                break;
                            }
                        }
                    }
                }
            }
        }
        sleep(BACKOFF).await;
    }
}
