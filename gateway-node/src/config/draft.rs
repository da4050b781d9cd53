//! Settings that are being checked, as far as they could be read, with the problems found so far.

use std::sync::Arc;

use shared::routing::EventTable;

use super::{
    error::{ConfigError, ConfigErrors},
    event::development_events,
    findings::Findings,
    settings::Settings,
    sources::Sources,
};

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
        match ConfigErrors::of(self.findings.into_errors()) {
            Some(errors) => Err(errors),
            None => Ok(self.settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Settings {
        /// Returns the table of application events, as a node builds it.
        pub(crate) fn event_table(&self) -> Result<EventTable, ConfigErrors> {
            let mut draft = Draft::new(self.clone(), Findings::default());
            let table = draft.event_table();
            draft.finish().map(|_| table.unwrap_or_default())
        }
    }
}
