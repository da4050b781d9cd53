//! What SIGHUP reads again.

use std::{path::Path, sync::Arc};

use super::{NodeError, keys::Keys};
use crate::{
    applications::Applications,
    auth::{Key, KeyError},
    config::{KeySettings, Settings},
    events::Events,
    transport::{Certificate, TlsError},
};

/// What SIGHUP replaces.
pub(super) struct Reload {
    pub(super) settings: Settings,
    pub(super) development: Option<KeySettings>,
    pub(super) keys: Arc<Keys>,
    pub(super) events: Events,
    pub(super) applications: Applications,
    pub(super) certificate: Option<Certificate>,
}

impl Reload {
    /// Reads keys, events, applications and certificate again. What is wrong is logged, and what was in force stays.
    pub(super) fn run(&self) {
        let reload = || {
            let settings = self.settings.reload()?;
            let (keys, events) = (
                configured_keys(&settings, self.development.as_ref())?,
                settings.event_table()?,
            );
            if let (Some(certificate), Some((chain, key))) = (&self.certificate, tls_files(&settings)) {
                certificate.reread(chain, key)?;
            }
            Ok::<_, NodeError>((keys, events, settings.applications))
        };
        match reload() {
            Ok((keys, events, applications)) => {
                let (key_count, event_count) = (keys.len(), events.len());
                self.events.replace(events);
                self.applications.replace(&applications);
                self.keys.configure(keys);
                // Last, so that who reads it can rely on it.
                log::info!(keys = key_count, events = event_count; "configuration read again");
            }
            Err(error) => log::error!(cause:% = error; "the configuration is wrong and was not taken over"),
        }
    }
}

/// The keys that are configured, and the one of development mode.
pub(super) fn configured_keys(settings: &Settings, development: Option<&KeySettings>) -> Result<Vec<Key>, KeyError> {
    settings.keys.iter().chain(development).map(Key::new).collect()
}

/// The files of the certificate chain and its key, where TLS is configured.
fn tls_files(settings: &Settings) -> Option<(&Path, &Path)> {
    let tls = &settings.server.tls;
    tls.certificate.as_deref().zip(tls.key.as_deref())
}

/// The certificate that is configured.
pub(super) fn certificate(settings: &Settings) -> Result<Option<Certificate>, NodeError> {
    let Some((chain, key)) = tls_files(settings) else {
        return Ok(None);
    };
    let read = Certificate::read(chain, key);
    let problem = |error: TlsError| {
        settings.problem(
            "server.tls.certificate",
            format!("a certificate and its key, but {error}"),
        )
    };
    Ok(Some(read.map_err(problem)?))
}
