//! The certificates for TLS with the server.

use std::{fs, io, path::PathBuf, sync::Arc, time::SystemTime};

use redis::RedisError;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

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
    Certificates(#[from] pem::Error),
    /// A certificate or a key cannot be used, or they do not belong together.
    #[error("redis.ca, redis.certificate or redis.key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
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
    /// Whether any file is given.
    pub(super) const fn has_files(&self) -> bool {
        self.authority.is_some() || self.identity.is_some()
    }

    /// Returns when the node's own certificate expires, if it has one.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        let (certificate, _) = self.identity.as_ref()?;
        certificates::expiry_of_pem(&fs::read(certificate).ok()?)
    }

    /// Reads the files. Of the system's certificate authorities, those that cannot be read are not trusted.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, RedisSetupError> {
        let mut roots = RootCertStore::empty();
        if let Some(authority) = &self.authority {
            for certificate in CertificateDer::pem_file_iter(authority)? {
                roots.add(certificate?)?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = if let Some((certificate, key)) = &self.identity {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        } else {
            config.with_no_client_auth()
        };
        Ok(Arc::new(config))
    }
}

impl From<RedisSetupError> for io::Error {
    fn from(error: RedisSetupError) -> Self {
        Self::other(error)
    }
}
