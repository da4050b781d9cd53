//! What happened to each request.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

/// What the clients record, shared by all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<LedgerState>>);

#[derive(Debug, Default)]
pub(super) struct LedgerState {
    /// The requests sent, by number.
    pub(super) requests: BTreeMap<u64, RequestRecord>,
    /// How many answers have a nonce that belongs to no request.
    pub(super) unknown: u64,
}

/// The deliveries and outcomes of one request.
#[derive(Debug, Default)]
pub(super) struct RequestRecord {
    /// The connections of bots that got it.
    pub(super) given_to: Vec<String>,
    /// The outcomes that its website got.
    pub(super) outcomes: Vec<Outcome>,
}

/// What a website got for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A reply by this connection of a bot, to the request with this number.
    Reply { by: String, number: u64 },
    /// `reply_failed` or `event_refused`, with its code.
    Failed { event: &'static str, code: String },
}

impl Ledger {
    /// Records a request that is about to be sent.
    pub(super) fn sent(&self, number: u64) {
        self.0.lock().requests.entry(number).or_default();
    }

    /// Records that this connection of a bot got a request.
    pub(super) fn given(&self, number: u64, to: &str) {
        let mut state = self.0.lock();
        state.requests.entry(number).or_default().given_to.push(to.to_owned());
    }

    /// Records a payload that a website got. Returns whether it is the outcome of a request.
    pub(super) fn outcome(&self, payload: &Value) -> bool {
        let d = &payload["d"];
        let code = || d["code"].as_str().unwrap_or_default().to_owned();
        let outcome = match payload["t"].as_str() {
            // The error of a bot is a reply as good as any.
            Some("reply_failed") if d["code"] == "error" => reply(&d["error"]),
            Some("reply_failed") => Outcome::Failed {
                event: "reply_failed",
                code: code(),
            },
            Some("event_refused") => Outcome::Failed {
                event: "event_refused",
                code: code(),
            },
            Some("reply") => reply(d),
            _ => return false,
        };
        let mut state = self.0.lock();
        match payload["n"].as_u64().and_then(|number| state.requests.get_mut(&number)) {
            Some(record) => record.outcomes.push(outcome),
            None => state.unknown += 1,
        }
        true
    }

    /// Returns how many requests have no outcome yet.
    pub(super) fn open(&self) -> usize {
        let state = self.0.lock();
        state.requests.values().filter(|it| it.outcomes.is_empty()).count()
    }

    /// Looks at everything that was recorded.
    pub(super) fn look<T>(&self, look: impl FnOnce(&LedgerState) -> T) -> T {
        look(&self.0.lock())
    }
}

fn reply(d: &Value) -> Outcome {
    Outcome::Reply {
        by: d["by"].as_str().unwrap_or_default().to_owned(),
        number: d["number"].as_u64().unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_are_recorded_by_their_nonce() {
        let ledger = Ledger::default();
        ledger.sent(1);
        ledger.sent(2);
        ledger.given(1, "bot");
        assert!(!ledger.outcome(&json!({ "t": "event_accepted", "n": 1 })));
        assert!(ledger.outcome(&json!({ "t": "reply", "n": 1, "d": { "by": "bot", "number": 1 } })));
        assert_eq!(ledger.open(), 1);
        assert!(ledger.outcome(&json!({ "t": "reply_failed", "n": 2, "d": { "code": "gone" } })));
        assert!(ledger.outcome(&json!({ "t": "reply_failed", "n": 3, "d": { "code": "gone" } })));
        ledger.look(|state| {
            assert_eq!((state.unknown, state.requests[&1].outcomes.len()), (1, 1));
            let failed = Outcome::Failed {
                event: "reply_failed",
                code: "gone".to_owned(),
            };
            assert_eq!(state.requests[&2].outcomes, [failed]);
        });
    }
}
