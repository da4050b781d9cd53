//! The certificates for TLS with the server.

use std::{fs, io, path::PathBuf, time::SystemTime};

use redis::{ClientTlsConfig, RedisError, TlsCertificates};

use crate::certificates;

/// Why the backplane cannot be created. An unavailable server is not a reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisSetupError {
    /// The URL is not that of a server.
    #[error("redis.url cannot be used: {0}")]
    Url(#[from] RedisError),
    /// A certificate or a key cannot be read.
    #[error("redis.ca, redis.certificate or redis.key cannot be read: {0}")]
    Certificates(#[from] io::Error),
}

/// The PEM files for TLS with the server. They are read for every connection, so that renewed ones are used.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The certificate authority to verify the server against, instead of the system's.
    pub authority: Option<PathBuf>,
    /// The node's own certificate, for a server that asks for one, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl RedisTls {
    /// Returns when the node's own certificate expires, if it has one.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        let (certificate, _) = self.identity.as_ref()?;
        certificates::expiry_of_pem(&fs::read(certificate).ok()?)
    }

    /// Reads the files. Returns `None` if there are none.
    pub(super) fn read(&self) -> io::Result<Option<TlsCertificates>> {
        let client_tls = match &self.identity {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: fs::read(certificate)?,
                client_key: fs::read(key)?,
            }),
            None => None,
        };
        let root_cert = self.authority.as_ref().map(fs::read).transpose()?;
        let is_plain = client_tls.is_none() && root_cert.is_none();
        Ok((!is_plain).then_some(TlsCertificates { client_tls, root_cert }))
    }
}
