//! What SIGHUP reads again.

use std::{sync::Arc, time::SystemTime};

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

/// What SIGHUP replaces.
pub(super) struct Reload {
    pub(super) settings: Settings,
    pub(super) development: Option<Key>,
    pub(super) keys: Arc<NodeKeys>,
    pub(super) events: Events,
    pub(super) applications: Applications,
    pub(super) certificate: Option<Certificate>,
}

impl Reload {
    /// Reads keys, events, applications and certificate again. What is wrong is logged, and what was in force stays.
    pub(super) fn run(&self) {
        let read = Preflight::read(self.settings.sources(), Occasion::Reload, SystemTime::now());
        let fresh = match read {
            Ok(fresh) => fresh,
            Err(errors) => {
                for error in errors.iter() {
                    log::error!(cause:% = error; "the configuration is wrong and was not taken over");
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
        // Last, so that who reads it can rely on it.
        log::info!(keys = key_count, events = event_count; "configuration read again");
    }
}

/// Logs what is not wrong, but hardly what the operator wants.
pub(super) fn log_warnings(warnings: &[ConfigError]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}
