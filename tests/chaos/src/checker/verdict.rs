//! What the judge says.

use std::fmt;

use serde::Serialize;

/// How many problems are told in words.
const DETAILS: usize = 20;

/// The judgement of a run, in numbers, and the first problems in words.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct FaultVerdict {
    /// Events that a session should have had and has not: one for each session that lacks it.
    pub lost: u64,
    /// Events that a session had again, that were for one session and that another one had too, or whose offset another
    /// event was given too.
    pub doubled: u64,
    /// Events that came after a later one of the same sender.
    pub reordered: u64,
    /// Events that a session should not have had: not for it, its own, refused, or sent by nobody.
    pub unauthorised: u64,
    /// What nobody can judge: events of unknown outcome that nobody saw, and events for one session or for a guild whose
    /// only excuse is that a session ended, or was taken for dead, at the wrong moment.
    pub uncertain: u64,
    /// As lost, but reported by the nodes as lost by Redis.
    pub gone: u64,
    /// Of these, those at a session that stayed: it should have been told to connect again.
    pub silent: u64,
    /// Dispatches whose number is not the one behind the last.
    pub jumps: u64,
    /// Discord sessions that were told by op 9 that they are over.
    pub invalid: u64,
    /// Of these, those that should have gone on, since Redis had lost nothing.
    pub refused: u64,
    /// Events that were accepted.
    pub accepted: u64,
    /// Receipts of all sessions.
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
