//! What one receiver has had of every sender: each event once and in order, or what else.

use std::collections::BTreeSet;

use serde::Serialize;

use super::event::NumberedEvent;

/// What a receiver has had so far.
#[derive(Debug, Default)]
pub(super) struct DeliveryChecker {
    senders: Vec<SenderProgress>,
    faults: DeliveryErrors,
}

/// What a receiver has had of one sender.
#[derive(Debug, Default)]
struct SenderProgress {
    /// The number that comes next when all is well.
    next: u64,
    /// Lower ones that have not come.
    missing: BTreeSet<u64>,
}

/// What should not have happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeliveryErrors {
    /// Events that never came.
    pub lost: u64,
    /// Events that came again.
    pub doubled: u64,
    /// Events that came after a later one of their sender.
    pub reordered: u64,
}

impl DeliveryErrors {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
        }
    }
}

impl DeliveryChecker {
    /// A ledger of so many senders.
    pub(super) fn new(senders: usize) -> Self {
        let mut checker = Self::default();
        checker.senders.resize_with(senders, SenderProgress::default);
        checker
    }

    /// Takes down an event.
    pub(super) fn record(&mut self, event: NumberedEvent) {
        let Some(sender) = self.senders.get_mut(event.sender) else {
            return;
        };
        if event.number >= sender.next {
            sender.missing.extend(sender.next..event.number);
            sender.next = event.number + 1;
        } else if sender.missing.remove(&event.number) {
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
        }
    }

    /// One more than the highest number of each sender.
    pub(super) fn heights(&self) -> impl Iterator<Item = u64> {
        self.senders.iter().map(|sender| sender.next)
    }

    /// One more than this sender's highest number.
    pub(super) fn height(&self, sender: usize) -> u64 {
        self.senders[sender].next
    }

    /// What went wrong, when the senders have sent so many each.
    pub(super) fn faults(&self, sent: &[u64]) -> DeliveryErrors {
        let progress = self.senders.iter().zip(sent);
        let lost = progress.map(|(sender, sent)| sender.missing.len() as u64 + sent.saturating_sub(sender.next));
        DeliveryErrors {
            lost: lost.sum(),
            ..self.faults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_told_apart() {
        let faults = |numbers: &[u64]| {
            let mut checker = DeliveryChecker::new(2);
            for number in numbers {
                checker.record(NumberedEvent {
                    sender: 1,
                    number: *number,
                });
            }
            let DeliveryErrors {
                lost,
                doubled,
                reordered,
            } = checker.faults(&[0, 4]);
            [lost, doubled, reordered]
        };
        assert_eq!(faults(&[0, 1, 2, 3]), [0, 0, 0]);
        assert_eq!(faults(&[0, 2, 3]), [1, 0, 0]);
        assert_eq!(faults(&[0, 1]), [2, 0, 0]);
        assert_eq!(faults(&[0, 1, 1, 2, 3]), [0, 1, 0]);
        assert_eq!(faults(&[0, 2, 1, 3]), [0, 0, 1]);
        assert_eq!(faults(&[0, 2, 1, 1, 3]), [0, 1, 1]);
    }
}
