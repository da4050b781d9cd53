//! How many sessions the bots of an application may still start.

use crate::{
    applications::Application,
    cluster::{StartBudget, StartLimits},
    http::Api,
};

impl Api {
    /// What is left of an application's sessions of today.
    pub(super) fn start_budget(&self, application: &Application) -> StartBudget {
        let limits = StartLimits {
            max_concurrency: application.max_concurrency,
            per_day: application.session_starts_per_day,
        };
        self.discord.start_budget(&application.id, limits)
    }
}
