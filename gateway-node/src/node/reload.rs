//! Reload on SIGHUP.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::{
    keys::NodeKeys,
    preflight::{Occasion, Preflight},
};
use crate::{
    applications::Applications,
    auth::Key,
    config::{ConfigError, Settings},
    events::Events,
    metrics::Metrics,
    transport::Certificate,
};

/// What a reload reads and replaces.
pub(super) struct Reload {
    pub(super) settings: Settings,
    pub(super) development: Option<Key>,
    pub(super) keys: Arc<NodeKeys>,
    pub(super) events: Events,
    pub(super) applications: Applications,
    pub(super) certificate: Option<Certificate>,
    pub(super) metrics: Arc<Metrics>,
    /// The names in the configuration that is in force.
    pub(super) names: RefCell<Names>,
}

/// The names of what a configuration lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    keys: BTreeSet<String>,
    events: BTreeSet<String>,
    applications: BTreeSet<String>,
}

impl Names {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            keys: settings.keys.iter().map(|key| key.id.clone()).collect(),
            events: settings.events.iter().map(|event| event.name.clone()).collect(),
            applications: settings.applications.iter().map(|it| it.id.clone()).collect(),
        }
    }

    /// Logs what was added since `before`, and what was removed.
    fn log_changes_since(&self, before: &Self) {
        for (what, now, before) in [
            ("keys", &self.keys, &before.keys),
            ("events", &self.events, &before.events),
            ("applications", &self.applications, &before.applications),
        ] {
            let added = list(now.difference(before));
            let removed = list(before.difference(now));
            if added.is_some() || removed.is_some() {
                log::info!(what, added = added.as_deref(), removed = removed.as_deref(); "the configuration has changed");
            }
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<_> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(","))
}

impl Reload {
    /// Reloads keys, events, applications and the certificate. If anything is invalid, logs every problem, keeps what is
    /// in force, and returns `false`.
    pub(super) fn run(&self) -> bool {
        let read = Preflight::read(self.settings.sources(), Occasion::Reload, crate::clock::wall_clock());
        let fresh = match read {
            Ok(fresh) => fresh,
            Err(errors) => {
                for error in errors.iter() {
                    log::error!(cause:% = error; "the configuration is invalid and was not applied");
                }
                return false;
            }
        };
        if let (Some(certificate), Some(fresh)) = (&self.certificate, &fresh.certificate) {
            certificate.replace(fresh);
            if let Some(expiry) = certificate.expiry() {
                self.metrics.certificate_expires("server", expiry);
            }
        }
        let keys: Vec<_> = fresh.keys.into_iter().chain(self.development.clone()).collect();
        let (key_count, event_count) = (keys.len(), fresh.events.len());
        self.events.replace(fresh.events);
        self.applications.replace(&fresh.settings.applications);
        let names = Names::of(&fresh.settings);
        names.log_changes_since(&self.names.replace(Names::default()));
        self.names.replace(names);
        self.keys.configure(keys);
        log_warnings(&fresh.warnings);
        // Compared with those of the start, because only these are in force.
        let waiting = self.settings.differences(&fresh.settings);
        if let Some(settings) = list(waiting.iter()) {
            log::warn!(settings = &*settings; "changed settings take effect after a restart");
        }
        // Logged last: once this line appears, the new configuration is in force.
        log::info!(keys = key_count, events = event_count; "configuration reloaded");
        true
    }
}

/// Logs settings that are valid but probably not what the operator wants.
pub(super) fn log_warnings(warnings: &[ConfigError]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}
