//! Settings that are being checked, as far as they could be read, with the problems found so far.

use std::sync::Arc;

use shared::routing::EventTable;

use super::{
    Settings, Sources,
    error::{ConfigError, ConfigErrors},
    event::development_events,
};

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
}

/// Settings as far as they could be read. An invalid value is replaced by its default.
#[derive(Debug, Clone)]
pub struct Draft {
    settings: Settings,
    findings: Findings,
}

impl Draft {
    /// Creates a draft of the settings, with the problems found while reading them.
    pub(super) const fn new(settings: Settings, findings: Findings) -> Self {
        Self { settings, findings }
    }

    /// Creates a draft with default settings and the problems that prevented reading any.
    pub(super) fn unread(sources: &Sources, findings: Findings) -> Self {
        let settings = Settings {
            sources: Arc::new(sources.clone()),
            ..Settings::default()
        };
        Self::new(settings, findings)
    }

    pub(super) const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Returns the settings as far as they could be read.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs a check that depends on these keys, and records its problem.
    ///
    /// Returns `None` if the check fails. Also returns `None`, without running it, if a key already has a problem, so
    /// that problems that only follow from others are not reported.
    pub fn check<T>(&mut self, keys: &[&str], check: impl FnOnce(&Settings) -> Result<T, ConfigError>) -> Option<T> {
        if !keys.iter().all(|key| self.findings.trusts(key)) {
            return None;
        }
        match check(&self.settings) {
            Ok(value) => Some(value),
            Err(error) => {
                self.findings.push(error);
                None
            }
        }
    }

    /// Builds the table of application events, with schemas read and compiled. It holds the built-in events in
    /// development mode if the operator configured none. Returns `None` if any event is invalid.
    pub fn event_table(&mut self) -> Option<EventTable> {
        let mut definitions = Vec::new();
        for index in 0..self.settings.events.len() {
            let key = format!("events[{index}]");
            let definition = self.check(&[&key], |settings| settings.event_definition(index));
            definitions.extend(definition);
        }
        if definitions.len() < self.settings.events.len() {
            return None;
        }
        if definitions.is_empty() && self.settings.development() {
            definitions = development_events();
        }
        self.check(&["events"], |settings| settings.table_of(definitions))
    }

    /// Returns the settings if no problem was found.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn finish(self) -> Result<Settings, ConfigErrors> {
        match ConfigErrors::of(self.findings.errors) {
            Some(errors) => Err(errors),
            None => Ok(self.settings),
        }
    }
}
