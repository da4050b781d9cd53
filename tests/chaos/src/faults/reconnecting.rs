//! A website that drops its connection again and again, and catches up on what it missed whenever it reconnects. For the
//! checker all of its connections are one session.

use std::time::Duration;

use fastrand::Rng;
use gateway_harness::key;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::context::{NodeEndpoint, RunContext};
use crate::{
    checker::{ClientKind, SenderId},
    socket::{SocketEvent, V1Socket},
};

/// How long a connection lasts, in milliseconds: about as long as between two pages.
const CONNECTED_MS: std::ops::RangeInclusive<u64> = 150..=450;
/// How long the client is away, in milliseconds.
const AWAY_MS: std::ops::RangeInclusive<u64> = 0..=300;
/// The interval of heartbeats, whose acknowledgements have positions.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A website that reconnects.
#[derive(Debug)]
pub(super) struct ReconnectingClient {
    /// The number of the client.
    pub(super) number: usize,
    /// The node that it connects to first.
    pub(super) home: usize,
    /// The guilds that it watches.
    pub(super) guilds: Vec<u64>,
    pub(super) rng: Rng,
}

/// What the client keeps between its connections.
struct ClientState {
    /// The session that its receipts belong to.
    index: usize,
    /// The last position that it was told.
    last: String,
}

impl ReconnectingClient {
    /// Connects again and again, until the future is dropped.
    pub(super) async fn run(mut self, context: RunContext) {
        let mut state = None;
        let mut endpoint = context.endpoint(self.home, &mut self.rng);
        loop {
            if let Some(endpoint) = endpoint
                && let Some((socket, welcome)) = self.connect(endpoint, state.as_ref()).await
            {
                let state = state.get_or_insert_with(|| ClientState {
                    index: self.open_session(endpoint, &context),
                    last: position(&welcome["position"]),
                });
                self.run_connection(socket, endpoint, state, &context).await;
            }
            sleep(Duration::from_millis(self.rng.u64(AWAY_MS))).await;
            endpoint = context.any_endpoint(&mut self.rng);
        }
    }

    async fn connect(&self, endpoint: NodeEndpoint, state: Option<&ClientState>) -> Option<(V1Socket, Value)> {
        let guilds: Vec<_> = self.guilds.iter().map(u64::to_string).collect();
        let mut d = json!({ "type": "website", "key": key("website"), "guilds": guilds, "positions": true });
        if let Some(state) = state {
            d["after"] = json!(state.last);
        }
        V1Socket::open_with(endpoint.address, ClientKind::Website, &d).await
    }

    fn open_session(&self, endpoint: NodeEndpoint, context: &RunContext) -> usize {
        let label = format!("reconnecting website {}", self.number);
        let recorder = &context.recorder;
        let index = recorder.open_session(self.number, &label, ClientKind::Website, endpoint.run);
        recorder.report(index, &self.guilds);
        recorder.confirm_reports(index);
        index
    }

    /// Receives events until the connection ends or is dropped.
    async fn run_connection(
        &mut self,
        mut socket: V1Socket,
        endpoint: NodeEndpoint,
        state: &mut ClientState,
        context: &RunContext,
    ) {
        let recorder = &context.recorder;
        let until = Instant::now() + Duration::from_millis(self.rng.u64(CONNECTED_MS));
        let mut heartbeat = interval(HEARTBEAT);
        let mut events = 0;
        loop {
            let payload = tokio::select! {
                event = socket.next() => match event {
                    SocketEvent::Payload(payload) => payload,
                    SocketEvent::Ended(_) => return,
                },
                _ = heartbeat.tick() => {
                    socket.send(&json!({ "op": 10 })).await;
                    continue;
                }
                () = sleep_until(until), if context.may_disconnect() => return,
            };
            let d = &payload["d"];
            if payload["t"] == "caught_up" {
                if d["events"] != events {
                    recorder.add_complaint(format!("caught up with {d} after {events} events"));
                }
                recorder.add_catch_up(true);
            } else if payload["t"] == "events_lost" {
                // From here on it is like a new client: it has been told.
                recorder.add_catch_up(false);
                recorder.end_session(state.index, Some(1012));
                state.index = self.open_session(endpoint, context);
                state.last = position(&d["position"]);
            }
            if payload["p"].is_null() {
                continue;
            }
            let told = position(&payload["p"]);
            if is_before(&told, &state.last) {
                recorder.add_complaint(format!("position {told} came after {}", state.last));
            }
            state.last = told;
            let sender = d["sender"].as_u64().and_then(|sender| SenderId::try_from(sender).ok());
            if payload["op"] == 0 {
                events += 1;
            }
            if let (Some(sender), Some(number), Some(name)) = (sender, d["n"].as_u64(), payload["t"].as_str()) {
                recorder.receive(state.index, sender, number, name);
            }
        }
    }
}

fn position(value: &Value) -> String {
    value.as_str().expect("a position is a string").to_owned()
}

/// Whether a position comes before another one of the same epoch.
fn is_before(position: &str, other: &str) -> bool {
    let (Some((epoch, offset)), Some((other_epoch, other_offset))) = (position.split_once('-'), other.split_once('-'))
    else {
        return true;
    };
    epoch == other_epoch && offset.parse::<u64>().ok() < other_offset.parse::<u64>().ok()
}
