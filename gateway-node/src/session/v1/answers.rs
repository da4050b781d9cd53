//! The answers that a session still owes to its client.

use std::collections::VecDeque;

use shared::{
    problem::Problem,
    v1::{Nonce, Refusal, RefusalCode, payload},
};

use crate::backplane::PublishError;

/// The answers that a session owes, in the order of the packets. An answer that is known waits for those before it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    queue: VecDeque<PendingAnswer>,
    /// The number of the first answer in the queue, less one.
    sent: u64,
}

#[derive(Debug)]
struct PendingAnswer {
    nonce: Nonce,
    /// `d` of the acceptance, or the refusal. `None` until it is known.
    outcome: Option<Result<String, Refusal>>,
}

impl Answers {
    /// Adds the answer to a packet and returns its number, which is never 0.
    pub(super) fn expect(&mut self, nonce: Nonce) -> u64 {
        self.queue.push_back(PendingAnswer { nonce, outcome: None });
        self.sent + self.queue.len() as u64
    }

    /// Sets the outcome of the packet whose answer has this number.
    pub(super) fn settle(&mut self, number: u64, outcome: Result<String, Refusal>) {
        let index = number
            .checked_sub(self.sent + 1)
            .and_then(|it| usize::try_from(it).ok());
        if let Some(answer) = index.and_then(|index| self.queue.get_mut(index)) {
            answer.outcome = Some(outcome);
        }
    }

    /// Takes the payload of the next answer, if its outcome is known.
    pub(super) fn next(&mut self) -> Option<String> {
        let outcome = self.queue.front_mut()?.outcome.take()?;
        let PendingAnswer { nonce, .. } = self.queue.pop_front()?;
        self.sent += 1;
        Some(match outcome {
            Ok(d) => payload::accepted(&nonce, &d),
            Err(refusal) => payload::refused(Some(&nonce), &refusal),
        })
    }

    /// Returns the number of answers that have not been sent.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// Returns the answer to an event that was not published.
pub(super) fn refusal(name: &str, error: &PublishError) -> Refusal {
    let code = match error {
        PublishError::NoReceiver { .. } => return Refusal::of(vec![Problem::no_receiver(name)]),
        PublishError::KeyReused => {
            let problem = Problem::with_str("The idempotency key was used for another event.", name);
            return Refusal {
                code: RefusalCode::IdempotencyKeyReused,
                problems: vec![problem],
            };
        }
        PublishError::Overloaded | PublishError::TooManyKeys { .. } | PublishError::TooManyJobs { .. } => {
            RefusalCode::Overloaded
        }
        PublishError::Unavailable | PublishError::Refused { .. } | PublishError::Expired => RefusalCode::Unavailable,
        PublishError::Unknown => RefusalCode::Unknown,
    };
    code.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(json: &str) -> Nonce {
        Nonce::parse(serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn answers_keep_the_order_of_their_packets() {
        let mut answers = Answers::default();
        let [first, second, third] = ["1", "2", "3"].map(|json| answers.expect(nonce(json)));
        answers.settle(third, Ok("{}".to_owned()));
        answers.settle(second, Err(RefusalCode::NotAllowed.into()));
        assert_eq!((answers.next(), answers.len()), (None, 3));
        answers.settle(first, Ok("{}".to_owned()));
        let sent: Vec<_> = std::iter::from_fn(|| answers.next()).collect();
        assert_eq!(sent.len(), 3);
        for (payload, nonce) in sent.iter().zip(1..) {
            assert!(payload.contains(&format!("\"n\":{nonce},")), "{payload}");
        }
        assert!(sent[1].contains("event_refused") && sent[2].contains("event_accepted"));
        // Later packets continue the numbers.
        let fourth = answers.expect(nonce("4"));
        assert_eq!(fourth, 4);
        answers.settle(third, Ok("{}".to_owned()));
        assert_eq!(answers.next(), None);
    }
}
