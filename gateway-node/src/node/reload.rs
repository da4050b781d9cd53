//! Reload on SIGHUP.

use std::sync::Arc;

use super::{
    keys::NodeKeys,
    preflight::{Occasion, Preflight},
};
use crate::{
    applications::Applications,
    auth::Key,
    config::{ConfigError, Settings},
    events::Events,
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
}

impl Reload {
    /// Reloads keys, events, applications and the certificate. If anything is invalid, logs every problem and keeps
    /// what is in force.
    pub(super) fn run(&self) {
        let read = Preflight::read(self.settings.sources(), Occasion::Reload, crate::clock::wall_clock());
        let fresh = match read {
            Ok(fresh) => fresh,
            Err(errors) => {
                for error in errors.iter() {
                    log::error!(cause:% = error; "the configuration is invalid and was not applied");
                }
                return;
            }
        };
        if let (Some(certificate), Some(fresh)) = (&self.certificate, &fresh.certificate) {
            certificate.replace(fresh);
        }
        let keys: Vec<_> = fresh.keys.into_iter().chain(self.development.clone()).collect();
        let (key_count, event_count) = (keys.len(), fresh.events.len());
        self.events.replace(fresh.events);
        self.applications.replace(&fresh.settings.applications);
        self.keys.configure(keys);
        log_warnings(&fresh.warnings);
        // Logged last: once this line appears, the new configuration is in force.
        log::info!(keys = key_count, events = event_count; "configuration reloaded");
    }
}

/// Logs settings that are valid but probably not what the operator wants.
pub(super) fn log_warnings(warnings: &[ConfigError]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}
