//! The remaining session starts of an application's bots.

use super::RestError;
use crate::{
    applications::Application,
    http::HttpState,
    resume::{StartBudget, StartLimits},
};

impl HttpState {
    /// Returns how many of today's session starts an application has left.
    ///
    /// # Errors
    /// If this is currently unknown.
    pub(super) async fn start_budget(&self, application: &Application) -> Result<StartBudget, RestError> {
        let limits = StartLimits {
            max_concurrency: application.max_concurrency,
            per_day: application.session_starts_per_day,
        };
        let budget = self.app.discord.start_budget(&application.id, limits).await;
        budget.map_err(|_| RestError::KeysAway)
    }
}
