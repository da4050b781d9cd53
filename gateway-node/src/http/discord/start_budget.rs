//! How many sessions the bots of an application may still start.

use crate::{applications::Application, http::Api};

/// What is left of a day's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartBudget {
    /// How many there are in a day.
    pub total: u32,
    /// How many are left.
    pub remaining: u32,
    /// Milliseconds until all of them are there again; 0 where none has been used.
    pub reset_after_ms: u64,
}

impl Api {
    /// The budget of an application. Nobody counts the starts of sessions yet, so that all of them are left.
    #[allow(clippy::unused_self, reason = "what counts them will be the node's")]
    pub(super) fn start_budget(&self, application: &Application) -> StartBudget {
        StartBudget {
            total: application.session_starts_per_day,
            remaining: application.session_starts_per_day,
            reset_after_ms: 0,
        }
    }
}
