//! The websites that send requests. Their node stays up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use gateway_harness::key;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{GUILDS, RequestCounter, ledger::Ledger};
use crate::{
    checker::ClientKind,
    socket::{SocketEvent, V1Socket},
};

/// One website.
pub(super) struct RequestWebsite {
    pub(super) node: SocketAddr,
    pub(super) ledger: Ledger,
    pub(super) counter: Arc<RequestCounter>,
    /// The time between two of its requests.
    pub(super) pause: Duration,
    /// Changes when nothing more can come.
    pub(super) over: watch::Receiver<bool>,
}

impl RequestWebsite {
    /// Sends requests until all websites together have sent enough, and records every outcome until the run is over.
    pub(super) async fn run(mut self, mut rng: Rng) {
        let opened = V1Socket::open(self.node, ClientKind::Website, &key("website")).await;
        let mut socket = opened.expect("the websites' node is up");
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_done = false;
        loop {
            tokio::select! {
                _ = ticks.tick(), if !is_done => match self.counter.next() {
                    Some(number) => {
                        self.ledger.sent(number);
                        let (name, guild) = match rng.u64(..4) {
                            0 => ("ask_any", 0),
                            _ => ("ask_guild", 1 + rng.u64(..GUILDS)),
                        };
                        let d = json!({ "guildId": guild.to_string(), "number": number });
                        let request = json!({ "op": 1, "t": name, "n": number, "d": d });
                        socket.send(&request).await.expect("the websites' node is up");
                    }
                    None => is_done = true,
                },
                event = socket.next() => match event {
                    SocketEvent::Payload(payload) => {
                        self.ledger.outcome(&payload);
                    }
                    SocketEvent::Ended(code) => panic!("a website was closed with {code:?}"),
                },
                _ = self.over.changed() => return,
            }
        }
    }
}
