//! Checks that one receiver gets each event of every sender once and in order.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::event::NumberedEvent;

/// Checks the events that one receiver gets: the last number received of each sender, and how many events were missing,
/// doubled or out of order.
#[derive(Debug, Default)]
pub(super) struct DeliveryChecker {
    senders: Vec<SenderProgress>,
    errors: DeliveryErrors,
}

/// What one receiver has received from one sender.
#[derive(Debug, Default)]
struct SenderProgress {
    /// One more than the highest number received.
    next: u64,
    /// Lower numbers that have not been received.
    missing: BTreeSet<u64>,
}

/// Delivery errors of one receiver, or of several.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeliveryErrors {
    /// Events never received.
    pub lost: u64,
    /// Events received more than once.
    pub doubled: u64,
    /// Events received after a later one of the same sender.
    pub reordered: u64,
}

impl DeliveryErrors {
    /// Returns a message for each kind of error that has occurred.
    pub(super) fn failures(self) -> Vec<String> {
        let counts = [
            (self.lost, "never came"),
            (self.doubled, "came again"),
            (self.reordered, "came out of order"),
        ];
        let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
        wrong.map(|(count, what)| format!("{count} events {what}")).collect()
    }

    /// Adds the errors of two receivers.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
        }
    }
}

impl fmt::Display for DeliveryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            doubled,
            reordered,
        } = self;
        write!(f, "{lost} lost, {doubled} doubled, {reordered} reordered")
    }
}

impl DeliveryChecker {
    /// Creates a checker for `senders` senders.
    pub(super) fn new(senders: usize) -> Self {
        let mut checker = Self::default();
        checker.senders.resize_with(senders, SenderProgress::default);
        checker
    }

    /// Records a received event.
    pub(super) fn record(&mut self, event: NumberedEvent) {
        let Some(sender) = self.senders.get_mut(event.sender) else {
            return;
        };
        if event.number >= sender.next {
            sender.missing.extend(sender.next..event.number);
            sender.next = event.number + 1;
        } else if sender.missing.remove(&event.number) {
            self.errors.reordered += 1;
        } else {
            self.errors.doubled += 1;
        }
    }

    /// Returns the height of each sender: one more than the highest number received from it.
    pub(super) fn heights(&self) -> impl Iterator<Item = u64> {
        self.senders.iter().map(|sender| sender.next)
    }

    /// Returns the height of one sender.
    pub(super) fn height(&self, sender: usize) -> u64 {
        self.senders[sender].next
    }

    /// Returns the delivery errors, given how many events each sender has sent.
    pub(super) fn errors(&self, sent: &[u64]) -> DeliveryErrors {
        let progress = self.senders.iter().zip(sent);
        let lost = progress.map(|(sender, sent)| sender.missing.len() as u64 + sent.saturating_sub(sender.next));
        DeliveryErrors {
            lost: lost.sum(),
            ..self.errors
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_reordered_events_are_counted_separately() {
        let errors = |numbers: &[u64]| {
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
            } = checker.errors(&[0, 4]);
            [lost, doubled, reordered]
        };
        assert_eq!(errors(&[0, 1, 2, 3]), [0, 0, 0]);
        assert_eq!(errors(&[0, 2, 3]), [1, 0, 0]);
        assert_eq!(errors(&[0, 1]), [2, 0, 0]);
        assert_eq!(errors(&[0, 1, 1, 2, 3]), [0, 1, 0]);
        assert_eq!(errors(&[0, 2, 1, 3]), [0, 0, 1]);
        assert_eq!(errors(&[0, 2, 1, 1, 3]), [0, 1, 1]);
    }
}
