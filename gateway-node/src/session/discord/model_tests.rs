//! Compares a session with a model that is a list. Whatever is cut, lost and resumed in whatever order, the client ends
//! up with every dispatch once, under the sequence number that it always had.

use proptest::prelude::*;
use serde_json::json;
use tokio::{runtime::Builder, task::LocalSet};

use super::tests::{DiscordTestClient, DiscordTestNode};

#[derive(Debug, Clone)]
enum ModelAct {
    /// An event that the session receives.
    Wanted,
    /// An event that the session does not receive.
    Unwanted,
    /// A private dispatch.
    PrivateRecord,
    /// A heartbeat that acknowledges all but this many of the dispatches that the client has.
    Heartbeat(usize),
    /// The connection breaks, and the last dispatches are lost: this many.
    Cut(usize),
    /// The client resumes on a new connection, which takes over.
    Resume,
}

fn acts() -> impl Strategy<Value = Vec<ModelAct>> {
    let act = prop_oneof![
        4 => Just(ModelAct::Wanted),
        2 => Just(ModelAct::Unwanted),
        2 => Just(ModelAct::PrivateRecord),
        3 => (0_usize..4).prop_map(ModelAct::Heartbeat),
        2 => (0_usize..6).prop_map(ModelAct::Cut),
        2 => Just(ModelAct::Resume),
    ];
    proptest::collection::vec(act, 1..50)
}

/// The expected dispatches in order, and how many of them the client has seen.
struct ModelWorld {
    node: DiscordTestNode,
    id: String,
    client: Option<DiscordTestClient>,
    /// How many dispatches of the current connection are in `seen`.
    read: usize,
    seen: Vec<(u64, String)>,
    /// The last dispatch that the client has acknowledged. It never resumes from before it.
    said: usize,
    model: Vec<String>,
    next: u64,
}

impl ModelWorld {
    async fn begin() -> Self {
        let node = DiscordTestNode::new();
        let (client, id) = node.identified(1).await;
        let mut world = Self {
            node,
            id,
            client: Some(client),
            read: 0,
            seen: Vec::new(),
            said: 0,
            model: vec!["READY".to_owned()],
            next: 0,
        };
        world.read().await;
        world
    }

    async fn read(&mut self) {
        if let Some(client) = &mut self.client {
            client.settle().await;
            let dispatches = client.dispatches();
            self.seen.extend_from_slice(&dispatches[self.read..]);
            self.read = dispatches.len();
        }
    }

    async fn act(&mut self, act: &ModelAct) {
        match act {
            ModelAct::Wanted => {
                self.next += 1;
                self.node.publish("X", &json!({"n": self.next})).await;
                self.model.push(self.next.to_string());
            }
            ModelAct::Unwanted => self.node.publish("MESSAGE_CREATE", &json!({"guild_id": "1"})).await,
            ModelAct::PrivateRecord => {
                if let Some(client) = &mut self.client {
                    client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
                    self.model.push("CHANNEL_INFO".to_owned());
                }
            }
            ModelAct::Heartbeat(less) => {
                let has = self.seen.len().saturating_sub(*less);
                if let Some(client) = &mut self.client {
                    client.send(&json!({"op": 1, "d": has})).await;
                    self.said = self.said.max(has);
                }
            }
            ModelAct::Cut(lost) => {
                if let Some(client) = self.client.take() {
                    client.cut().await;
                    let has = self.seen.len().saturating_sub(*lost).max(self.said).max(1);
                    self.seen.truncate(has);
                }
            }
            ModelAct::Resume => {
                self.client = Some(self.node.resumed(&self.id, self.seen.len() as u64).await);
                self.read = 0;
                self.model.push("RESUMED".to_owned());
            }
        }
        self.read().await;
    }

    fn judge(&self) -> Result<(), TestCaseError> {
        let expected: Vec<_> = (1..).zip(self.model.iter().cloned()).collect();
        if self.client.is_some() {
            prop_assert_eq!(&self.seen, &expected);
        } else {
            prop_assert_eq!(&self.seen[..], &expected[..self.seen.len()]);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_dispatch_arrives_once_with_its_number(acts in acts()) {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let mut world = ModelWorld::begin().await;
            for act in &acts {
                world.act(act).await;
                world.judge()?;
            }
            if world.client.is_none() {
                world.act(&ModelAct::Resume).await;
            }
            world.judge()
        })?;
    }
}
