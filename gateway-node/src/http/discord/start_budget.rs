//! How many sessions the bots of an application may still start.

use super::RestError;
use crate::{
    applications::Application,
    http::Api,
    resume::{StartBudget, StartLimits},
};

impl Api {
    /// What is left of an application's sessions of today.
    ///
    /// # Errors
    /// When nobody can tell now.
    pub(super) async fn start_budget(&self, application: &Application) -> Result<StartBudget, RestError> {
        let limits = StartLimits {
            max_concurrency: application.max_concurrency,
            per_day: application.session_starts_per_day,
        };
        let budget = self.discord.start_budget(&application.id, limits).await;
        budget.map_err(|_| RestError::KeysAway)
    }
}
