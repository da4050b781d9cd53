//! Settings while they are checked: as far as they could be read, with everything that is wrong so far.

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
    /// The keys whose values cannot be relied on.
    wrong: Vec<String>,
    /// Whether a whole source could not be read, so that nothing can be.
    is_blind: bool,
}

impl Findings {
    /// Records a problem; nothing else is checked that depends on its key.
    pub(super) fn push(&mut self, error: ConfigError) {
        self.distrust(error.key.clone());
        self.errors.push(error);
    }

    /// Records a problem of a whole source: nothing else is checked.
    pub(super) fn push_blind(&mut self, error: ConfigError) {
        self.errors.push(error);
        self.is_blind = true;
    }

    /// Has nothing checked that depends on `key`.
    pub(super) fn distrust(&mut self, key: String) {
        self.wrong.push(key);
    }

    /// Whether the value of `key` can be relied on: neither it nor anything above or below it is wrong.
    pub(super) fn trusts(&self, key: &str) -> bool {
        let is_below = |key: &str, above: &str| {
            key.strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let concerns = |wrong: &String| is_below(wrong, key) || is_below(key, wrong);
        !self.is_blind && !self.wrong.iter().any(concerns)
    }

    /// Whether the list `key` has the length that the operator gave it, whatever is in its entries.
    pub(super) fn trusts_length(&self, key: &str) -> bool {
        !self.is_blind && !self.wrong.iter().any(|wrong| wrong == key)
    }
}

/// Settings as far as they could be read. Where a value is wrong, its default stands.
#[derive(Debug, Clone)]
pub struct Draft {
    settings: Settings,
    findings: Findings,
}

impl Draft {
    /// Settings with what was wrong when they were read.
    pub(super) const fn new(settings: Settings, findings: Findings) -> Self {
        Self { settings, findings }
    }

    /// Nothing but the problems that kept the settings from being read.
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

    /// Runs a check that depends on these keys, and records its problem. Returns `None` then, and where one of the keys is
    /// wrong already: a problem that only follows from another is not told.
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

    /// Returns the table of the application events, their schemas read and compiled: those of development mode where it is on
    /// and the operator configured none. Returns `None` where an event makes no rule.
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

    /// Returns the settings if nothing is wrong.
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
