//! The checks of a configuration that need nothing but the local machine.
//!
//! `serve` and `check-config` call the same function, so a configuration that passes one also passes the other. Nothing
//! here binds a port or opens a connection.

use std::time::SystemTime;

use shared::routing::EventTable;

use crate::{
    auth::Key,
    backends::{KeyStore, RedisTls},
    config::{ConfigError, ConfigErrors, Draft, REDIS_URL, Settings, Sources},
    transport::{Certificate, read_certificates, read_private_key},
};

/// A configuration that a node can start with, and what was built from it.
pub struct Preflight {
    /// The settings.
    pub settings: Settings,
    /// The table of application events.
    pub events: EventTable,
    /// Problems that do not prevent a start, one line each.
    pub warnings: Vec<ConfigError>,
    pub(super) keys: Vec<Key>,
    pub(super) certificate: Option<Certificate>,
}

/// Why the configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A node is starting.
    Start,
    /// A running node applies what has changed. It continues even without a valid key, so that the last key can be
    /// revoked.
    Reload,
}

impl Preflight {
    /// Reads a configuration, with every file that it names, and checks it for a start.
    ///
    /// # Errors
    /// Every problem.
    pub fn of(sources: &Sources, now: SystemTime) -> Result<Self, ConfigErrors> {
        Self::read(sources, Occasion::Start, now)
    }

    pub(super) fn read(sources: &Sources, occasion: Occasion, now: SystemTime) -> Result<Self, ConfigErrors> {
        let mut draft = sources.draft();
        let events = draft.event_table();
        let certificate = certificate(&mut draft);
        redis(&mut draft);
        let mut warnings = Vec::new();
        let keys = keys(&mut draft, occasion, now, &mut warnings);
        let settings = draft.finish()?;
        warnings.extend(settings.sources().misnamed_variables());
        if let Some(lapse) = certificate.as_ref().and_then(|certificate| certificate.lapse(now)) {
            let expected = format!("a certificate that is valid now, but {lapse}");
            warnings.push(settings.problem("server.tls.certificate", expected));
        }
        Ok(Self {
            settings,
            // The table exists if no problem was found.
            events: events.unwrap_or_default(),
            warnings,
            keys,
            certificate,
        })
    }
}

/// Reads the certificate and private key of the public listener.
fn certificate(draft: &mut Draft) -> Option<Certificate> {
    let tls = draft.settings().server.tls.clone();
    let (chain, key) = (tls.certificate?, tls.key?);
    let chain = draft.check(&["server.tls.certificate"], |settings| {
        read_certificates(&chain).map_err(|error| {
            let expected = format!("a PEM file with a certificate, but {error}");
            settings.problem("server.tls.certificate", expected)
        })
    });
    let key = draft.check(&["server.tls.key"], |settings| {
        read_private_key(&key).map_err(|error| {
            let expected = format!("a PEM file with a private key, but {error}");
            settings.problem("server.tls.key", expected)
        })
    });
    let (chain, key) = (chain?, key?);
    draft.check(&["server.tls"], |settings| {
        Certificate::new(chain, key).map_err(|error| {
            let expected = format!("the private key of server.tls.certificate, but {error}");
            settings.problem("server.tls.key", expected)
        })
    })
}

/// Checks the Redis settings, as far as that is possible without a connection.
fn redis(draft: &mut Draft) {
    draft.check(&["redis.ca"], |settings| match &settings.redis.ca {
        Some(path) => read_certificates(path).map(drop).map_err(|error| {
            let expected = format!("a PEM file with a certificate, but {error}");
            settings.problem("redis.ca", expected)
        }),
        None => Ok(()),
    });
    draft.check(&["redis.certificate"], |settings| match &settings.redis.certificate {
        Some(path) => read_certificates(path).map(drop).map_err(|error| {
            let expected = format!("a PEM file with a certificate, but {error}");
            settings.problem("redis.certificate", expected)
        }),
        None => Ok(()),
    });
    draft.check(&["redis.key"], |settings| match &settings.redis.key {
        Some(path) => read_private_key(path).map(drop).map_err(|error| {
            let expected = format!("a PEM file with a private key, but {error}");
            settings.problem("redis.key", expected)
        }),
        None => Ok(()),
    });
    let make = |settings: &Settings, tls: &RedisTls| match &settings.redis.url {
        Some(url) => KeyStore::new(&url.expose().to_owned().into(), tls, &settings.redis.prefix).map(drop),
        None => Ok(()),
    };
    draft.check(&["redis.url"], |settings| {
        // The client's error about a URL does not quote any part of it.
        make(settings, &RedisTls::default())
            .map_err(|cause| settings.problem("redis.url", format!("{REDIS_URL}, but {cause}")))
    });
    draft.check(&["redis"], |settings| {
        let authority = RedisTls {
            authority: settings.redis.ca.clone(),
            identity: None,
        };
        make(settings, &authority)
            .map_err(|cause| settings.problem("redis.ca", format!("a PEM file with a certificate, but {cause}")))?;
        make(settings, &redis_tls(settings)).map_err(|cause| {
            let expected = format!("a PEM file with the certificate of redis.key, but {cause}");
            settings.problem("redis.certificate", expected)
        })
    });
}

/// Returns the files for TLS with Redis.
pub(crate) fn redis_tls(settings: &Settings) -> RedisTls {
    RedisTls {
        authority: settings.redis.ca.clone(),
        identity: settings.redis.certificate.clone().zip(settings.redis.key.clone()),
    }
}

/// Builds the keys. At least one must be valid, unless Redis may contain others.
fn keys(draft: &mut Draft, occasion: Occasion, now: SystemTime, warnings: &mut Vec<ConfigError>) -> Vec<Key> {
    let count = draft.settings().keys.len();
    let mut keys = Vec::with_capacity(count);
    for index in 0..count {
        let entry = format!("keys[{index}]");
        keys.extend(draft.check(&[&entry], |settings| {
            Key::new(&settings.keys[index])
                .map_err(|error| settings.problem(&format!("{entry}.id"), format!("a usable key, but {error}")))
        }));
    }
    if draft.settings().development() {
        return keys;
    }
    let refused = draft.check(&["keys", "redis.url"], |settings| {
        if keys.iter().any(|key| !key.has_expired(now)) {
            return Ok(None);
        }
        let problem = match (&settings.redis.url, count.checked_sub(1)) {
            (Some(_), _) => settings.problem(
                "redis.url",
                "keys in this Redis (`keys new --store`), since no key in [[keys]] is valid",
            ),
            (None, Some(last)) => settings.problem(
                &format!("keys[{last}].expires_at"),
                "a time in the future, since no other key is valid",
            ),
            (None, None) => return Ok(None),
        };
        if settings.redis.url.is_some() || occasion == Occasion::Reload {
            Ok(Some(problem))
        } else {
            Err(problem)
        }
    });
    warnings.extend(refused.flatten());
    keys
}
