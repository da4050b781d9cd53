//! The problems that reading a configuration finds.

use super::error::ConfigError;

/// The problems found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    errors: Vec<ConfigError>,
    /// The keys whose values cannot be trusted.
    wrong: Vec<String>,
    /// Whether a whole source could not be read, so that no value can be trusted.
    is_blind: bool,
}

impl Findings {
    /// Records a problem. Checks that depend on its key are skipped from now on.
    pub(super) fn push(&mut self, error: ConfigError) {
        self.distrust(error.key.clone());
        self.errors.push(error);
    }

    /// Records a problem of a whole source. All further checks are skipped.
    pub(super) fn push_blind(&mut self, error: ConfigError) {
        self.errors.push(error);
        self.is_blind = true;
    }

    /// Skips all checks that depend on `key` from now on.
    pub(super) fn distrust(&mut self, key: String) {
        self.wrong.push(key);
    }

    /// Returns whether the value of `key` can be trusted: no problem was found with it, a section above it or a key
    /// below it.
    pub(super) fn trusts(&self, key: &str) -> bool {
        let is_below = |key: &str, above: &str| {
            key.strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let concerns = |wrong: &String| is_below(wrong, key) || is_below(key, wrong);
        !self.is_blind && !self.wrong.iter().any(concerns)
    }

    /// Returns whether the list `key` has the length that the operator gave it, even if its entries are invalid.
    pub(super) fn trusts_length(&self, key: &str) -> bool {
        !self.is_blind && !self.wrong.iter().any(|wrong| wrong == key)
    }

    /// Returns the problems.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors
    }
}
