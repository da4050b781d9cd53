//! The result of checking a run.

use std::fmt;

use serde::Serialize;

/// How many problems are described in words; all are counted.
const DETAILS: usize = 20;

/// The result of a run in numbers, with the first problems in words.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct FaultVerdict {
    /// Events that a session should have received and did not, counted once per session.
    pub lost: u64,
    /// Events that a session received twice, events for one session that two sessions received, and events that share
    /// an offset with another event.
    pub doubled: u64,
    /// Events that arrived after a later event of the same sender.
    pub reordered: u64,
    /// Events that a session must not receive: meant for others, its own, refused, or never sent.
    pub unauthorised: u64,
    /// Cases that cannot be decided: events of unknown outcome that no session received, and events for one session or
    /// for a guild that are missing or doubled, but where a session ended or was considered dead at the wrong moment.
    pub uncertain: u64,
    /// Events that are missing because Redis lost them, as the nodes reported.
    pub gone: u64,
    /// The part of `gone` that is missing at a session that stayed open: it should have been closed, so that its client
    /// reconnects.
    pub silent: u64,
    /// Dispatches whose sequence number does not follow the previous one.
    pub jumps: u64,
    /// Discord sessions that were ended by op 9.
    pub invalid: u64,
    /// The part of `invalid` that should have been resumable, since Redis had lost nothing.
    pub refused: u64,
    /// Events that were accepted.
    pub accepted: u64,
    /// Events that sessions received, in all.
    pub deliveries: u64,
    /// The first problems, one sentence each.
    pub problems: Vec<String>,
}

impl FaultVerdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        let faults = [
            self.lost,
            self.doubled,
            self.reordered,
            self.unauthorised,
            self.silent,
            self.jumps,
            self.refused,
        ];
        faults == [0; 7]
    }

    pub(super) fn add_problem(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < DETAILS {
            self.problems.push(problem());
        }
    }
}

impl fmt::Display for FaultVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted, {} deliveries: {} lost, {} doubled, {} reordered, {} unauthorised, {} uncertain, {} gone, {} \
             in silence, {} jumps, {} invalid, {} of them without a reason",
            self.accepted,
            self.deliveries,
            self.lost,
            self.doubled,
            self.reordered,
            self.unauthorised,
            self.uncertain,
            self.gone,
            self.silent,
            self.jumps,
            self.invalid,
            self.refused
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
