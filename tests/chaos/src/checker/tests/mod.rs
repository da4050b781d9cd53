//! Each fault that the checker must find, and beside it the similar case that is no fault.

mod discord;
mod for_many;
mod for_one;

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ClientKind, FaultVerdict, GuildReport, PublishOutcome, Reach, Receipt, Recipients, RecordedEnd, RecordedSender,
    Recording, SenderId, SentEvent, V1Session, check,
};

const BOTH: Recipients = Recipients::All(&[ClientKind::Bot, ClientKind::Website]);
const BOTS: Recipients = Recipients::All(&[ClientKind::Bot]);
const ONE: Recipients = Recipients::Any(&[ClientKind::Bot]);

/// Builds a recording; times are in milliseconds.
struct TestRun(Recording);

impl TestRun {
    /// Creates a run with one sender over HTTP, sender 0.
    fn new() -> Self {
        let mut run = Self(Recording::new(Instant::now()));
        run.sender(None);
        run
    }

    fn at(&self, ms: u64) -> Instant {
        self.0.began + Duration::from_millis(ms)
    }

    fn sender(&mut self, session: Option<usize>) -> SenderId {
        let events = Vec::new();
        self.0.senders.push(RecordedSender { session, events });
        self.0.senders.len() - 1
    }

    fn session(&mut self, kind: ClientKind, identified: u64) -> usize {
        self.0.sessions.push(V1Session {
            label: format!("{kind} {}", self.0.sessions.len()),
            kind,
            identified_at: self.at(identified),
            guilds: Vec::new(),
            absences: Vec::new(),
            ended: None,
            received: Vec::new(),
        });
        self.0.sessions.len() - 1
    }

    fn bot(&mut self) -> usize {
        self.session(ClientKind::Bot, 0)
    }

    fn ends(&mut self, session: usize, ms: u64, how: RecordedEnd) {
        self.0.sessions[session].ended = Some((self.at(ms), how));
    }

    fn reports(&mut self, session: usize, id: u64, since: Option<u64>) {
        let since = since.map(|ms| self.at(ms));
        self.0.sessions[session].guilds.push(GuildReport { id, since });
    }

    fn send_from(&mut self, sender: SenderId, sent: u64, recipients: Recipients, outcome: PublishOutcome) -> u64 {
        let event = SentEvent {
            name: "announce",
            recipients,
            reach: Reach::Nobody,
            sent_at: self.at(sent),
            outcome,
            repeated: false,
        };
        self.0.senders[sender].events.push(event);
        self.0.senders[sender].events.len() as u64
    }

    /// Sends an event from sender 0 that is accepted 5 ms later. Its offset is its time.
    fn send(&mut self, sent: u64, recipients: Recipients) -> u64 {
        let outcome = self.accepted(sent + 5, sent, "one");
        self.send_from(0, sent, recipients, outcome)
    }

    fn accepted(&self, at: u64, offset: u64, epoch: &str) -> PublishOutcome {
        PublishOutcome::Accepted {
            at: self.at(at),
            offset,
            epoch: epoch.into(),
        }
    }

    /// Sends `count` events from sender 0, one every 10 ms, the first at 10 ms.
    fn send_many(&mut self, count: u64, recipients: Recipients) {
        for n in 1..=count {
            self.send(10 * n, recipients);
        }
    }

    fn sees_from(&mut self, session: usize, sender: SenderId, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let at = self.0.event(sender, number).map_or(self.0.began, |event| event.sent_at);
            self.0.sessions[session].received.push(Receipt {
                sender,
                number,
                name: "announce".into(),
                at: at + Duration::from_millis(6),
            });
        }
    }

    fn sees(&mut self, session: usize, numbers: impl IntoIterator<Item = u64>) {
        self.sees_from(session, 0, numbers);
    }

    fn verdict(&self) -> FaultVerdict {
        check(&self.0)
    }

    /// Asserts that the run is clean, with these numbers of uncertain and gone events.
    fn assert_clean(&self, uncertain: u64, gone: u64) {
        let verdict = self.verdict();
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!(verdict.problems, [""; 0]);
        assert_eq!((verdict.uncertain, verdict.gone), (uncertain, gone), "{verdict}");
    }

    /// Asserts these numbers of lost, doubled, reordered and unauthorised events, and no other fault.
    fn assert_verdict(&self, faults: [u64; 4]) {
        let verdict = self.verdict();
        let found = [verdict.lost, verdict.doubled, verdict.reordered, verdict.unauthorised];
        assert_eq!(found, faults, "{verdict}");
        assert_eq!(verdict.is_clean(), faults == [0; 4]);
        assert_eq!(verdict.problems.len() as u64, faults.iter().sum::<u64>(), "{verdict}");
    }
}
