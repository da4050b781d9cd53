//! What became of the requests.

use std::{collections::BTreeMap, fmt};

use gateway_harness::ToolReport;
use serde::Serialize;

use super::ledger::{LedgerState, Outcome, RequestRecord};

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RequestReport {
    /// The seed of the run.
    pub seed: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests whose first outcome was a reply, or the error of a bot.
    pub replied: u64,
    /// Requests with another first outcome, by event and code.
    pub failed: BTreeMap<String, u64>,
    /// Requests without an outcome.
    pub without_outcome: u64,
    /// Requests with several outcomes.
    pub with_several_outcomes: u64,
    /// Requests that several bots got, or one bot twice.
    pub given_twice: u64,
    /// Replies that did not come from the bot that had the request, or that belong to another one.
    pub wrong_replies: u64,
    /// Answers to nothing that was sent.
    pub unknown_answers: u64,
    /// Connections of bots that were cut.
    pub bots_cut: u64,
    /// Nodes that were killed.
    pub nodes_killed: u64,
}

impl RequestReport {
    pub(super) fn new(seed: u64, state: &LedgerState, bots_cut: u64, nodes_killed: u64) -> Self {
        let mut report = Self {
            seed,
            requests: state.requests.len() as u64,
            unknown_answers: state.unknown,
            bots_cut,
            nodes_killed,
            ..Self::default()
        };
        for (number, record) in &state.requests {
            report.add(*number, record);
        }
        report
    }

    fn add(&mut self, number: u64, record: &RequestRecord) {
        self.given_twice += u64::from(record.given_to.len() > 1);
        self.without_outcome += u64::from(record.outcomes.is_empty());
        self.with_several_outcomes += u64::from(record.outcomes.len() > 1);
        match record.outcomes.first() {
            Some(Outcome::Reply { .. }) => self.replied += 1,
            Some(Outcome::Failed { event, code }) => *self.failed.entry(format!("{event} {code}")).or_default() += 1,
            None => {}
        }
        for outcome in &record.outcomes {
            if let Outcome::Reply { by, number: of } = outcome {
                self.wrong_replies += u64::from(*of != number || !record.given_to.contains(by));
            }
        }
    }
}

impl ToolReport for RequestReport {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (what, count) in [
            ("requests have no outcome", self.without_outcome),
            ("requests have several outcomes", self.with_several_outcomes),
            ("requests were given twice", self.given_twice),
            (
                "replies are not those of the bot that had the request",
                self.wrong_replies,
            ),
            ("answers belong to no request", self.unknown_answers),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        if self.replied * 2 < self.requests {
            failures.push(format!(
                "only {} of {} requests got a reply",
                self.replied, self.requests
            ));
        }
        failures
    }
}

impl fmt::Display for RequestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} requests, {} bots cut, {} nodes killed: {} replied",
            self.seed, self.requests, self.bots_cut, self.nodes_killed, self.replied
        )?;
        for (how, count) in &self.failed {
            write!(f, ", {count} {how}")?;
        }
        write!(
            f,
            "; without outcome {}, with several {}, given twice {}, wrong replies {}",
            self.without_outcome, self.with_several_outcomes, self.given_twice, self.wrong_replies
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::requests::ledger::Ledger;

    fn failures(fill: impl FnOnce(&Ledger)) -> Vec<String> {
        let ledger = Ledger::default();
        for number in 0..4 {
            ledger.sent(number);
            ledger.given(number, "bot");
            let reply = json!({ "t": "reply", "n": number, "d": { "by": "bot", "number": number } });
            assert!(ledger.outcome(&reply));
        }
        fill(&ledger);
        ledger.look(|state| RequestReport::new(1, state, 1, 1)).failures()
    }

    #[test]
    fn every_broken_promise_is_a_failure() {
        assert!(failures(|_| {}).is_empty());
        assert_eq!(failures(|ledger| ledger.sent(9)), ["1 requests have no outcome"]);
        assert_eq!(
            failures(|ledger| ledger.given(1, "other")),
            ["1 requests were given twice"]
        );
        let again = json!({ "t": "reply_failed", "n": 1, "d": { "code": "timeout" } });
        assert_eq!(
            failures(|ledger| assert!(ledger.outcome(&again))),
            ["1 requests have several outcomes"]
        );
        let of_a_stranger = json!({ "t": "reply", "n": 9, "d": { "by": "a stranger", "number": 9 } });
        assert_eq!(
            failures(|ledger| {
                ledger.sent(9);
                assert!(ledger.outcome(&of_a_stranger));
            }),
            ["1 replies are not those of the bot that had the request"]
        );
        let unknown = json!({ "t": "reply", "n": 10, "d": {} });
        assert_eq!(
            failures(|ledger| assert!(ledger.outcome(&unknown))),
            ["1 answers belong to no request"]
        );
    }
}
