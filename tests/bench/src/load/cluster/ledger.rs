//! What one receiver has had of every sender: each event once and in order, or what else.

use std::collections::BTreeSet;

use serde::Serialize;

use super::event::Event;

/// What a receiver has had so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    senders: Vec<Column>,
    faults: Faults,
}

/// What a receiver has had of one sender.
#[derive(Debug, Default)]
struct Column {
    /// The number that comes next when all is well.
    next: u64,
    /// Lower ones that have not come.
    missing: BTreeSet<u64>,
}

/// What should not have happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Events that never came.
    pub lost: u64,
    /// Events that came again.
    pub doubled: u64,
    /// Events that came after a later one of their sender.
    pub reordered: u64,
}

impl Faults {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
        }
    }
}

impl Ledger {
    /// A ledger of so many senders.
    pub(super) fn new(senders: usize) -> Self {
        let mut ledger = Self::default();
        ledger.senders.resize_with(senders, Column::default);
        ledger
    }

    /// Takes down an event.
    pub(super) fn note(&mut self, event: Event) {
        let Some(column) = self.senders.get_mut(event.sender) else {
            return;
        };
        if event.number >= column.next {
            column.missing.extend(column.next..event.number);
            column.next = event.number + 1;
        } else if column.missing.remove(&event.number) {
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
        }
    }

    /// One more than the highest number of each sender.
    pub(super) fn heights(&self) -> impl Iterator<Item = u64> {
        self.senders.iter().map(|column| column.next)
    }

    /// One more than this sender's highest number.
    pub(super) fn height(&self, sender: usize) -> u64 {
        self.senders[sender].next
    }

    /// What went wrong, when the senders have sent so many each.
    pub(super) fn faults(&self, sent: &[u64]) -> Faults {
        let columns = self.senders.iter().zip(sent);
        let lost = columns.map(|(column, sent)| column.missing.len() as u64 + sent.saturating_sub(column.next));
        Faults {
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
            let mut ledger = Ledger::new(2);
            for number in numbers {
                ledger.note(Event {
                    sender: 1,
                    number: *number,
                });
            }
            let Faults {
                lost,
                doubled,
                reordered,
            } = ledger.faults(&[0, 4]);
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
