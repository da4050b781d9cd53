//! A session against a model that is a list: whatever is cut, lost and resumed in whatever order, the client ends up with
//! every dispatch once, under the number that it always had.

use proptest::prelude::*;
use serde_json::json;
use tokio::{runtime::Builder, task::LocalSet};

use super::tests::{Client, Node};

#[derive(Debug, Clone)]
enum Act {
    /// An event that the session receives.
    Wanted,
    /// One that it does not.
    Unwanted,
    /// Something for this session alone.
    Private,
    /// A heartbeat that says what the client has, less this many dispatches.
    Heartbeat(usize),
    /// The connection breaks, and this many of the last dispatches never arrived.
    Cut(usize),
    /// The client resumes, on a connection that takes over.
    Resume,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Wanted),
        2 => Just(Act::Unwanted),
        2 => Just(Act::Private),
        3 => (0_usize..4).prop_map(Act::Heartbeat),
        2 => (0_usize..6).prop_map(Act::Cut),
        2 => Just(Act::Resume),
    ];
    proptest::collection::vec(act, 1..50)
}

/// What happened, in the order of its numbers, and who has seen how much of it.
struct World {
    node: Node,
    id: String,
    client: Option<Client>,
    /// How much of what the present connection has sent is in `seen`.
    read: usize,
    seen: Vec<(u64, String)>,
    /// The dispatch that the client has said it has: it never goes back behind that.
    said: usize,
    model: Vec<String>,
    next: u64,
}

impl World {
    async fn begin() -> Self {
        let node = Node::new();
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

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Wanted => {
                self.next += 1;
                self.node.publish("X", &json!({"n": self.next})).await;
                self.model.push(self.next.to_string());
            }
            Act::Unwanted => self.node.publish("MESSAGE_CREATE", &json!({"guild_id": "1"})).await,
            Act::Private => {
                if let Some(client) = &mut self.client {
                    client.send(&json!({"op": 43, "d": {"guild_id": "5"}})).await;
                    self.model.push("CHANNEL_INFO".to_owned());
                }
            }
            Act::Heartbeat(less) => {
                let has = self.seen.len().saturating_sub(*less);
                if let Some(client) = &mut self.client {
                    client.send(&json!({"op": 1, "d": has})).await;
                    self.said = self.said.max(has);
                }
            }
            Act::Cut(lost) => {
                if let Some(client) = self.client.take() {
                    client.cut().await;
                    let has = self.seen.len().saturating_sub(*lost).max(self.said).max(1);
                    self.seen.truncate(has);
                }
            }
            Act::Resume => {
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
    fn every_dispatch_arrives_once_under_its_number(acts in acts()) {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let mut world = World::begin().await;
            for act in &acts {
                world.act(act).await;
                world.judge()?;
            }
            if world.client.is_none() {
                world.act(&Act::Resume).await;
            }
            world.judge()
        })?;
    }
}
