//! TLS of a listener: a certificate that can be replaced while connections go on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate and the key are not usable, or not for each other.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate in force. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificate {
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Certificate {
    /// Reads a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// When a file is unreadable or they do not fit together.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            current: Arc::new(RwLock::new(Arc::new(load(chain, key)?))),
        })
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// As [`read`](Self::read); the old certificate stays in force.
    pub fn reread(&self, chain: &Path, key: &Path) -> Result<(), TlsError> {
        let fresh = Arc::new(load(chain, key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What a listener accepts TLS with.
    ///
    /// # Errors
    /// When the provider supports none of the default protocol versions.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn load(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(in_file(chain))?;
    if certificates.is_empty() {
        return Err(in_file(chain)(pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(in_file(key))?;
    Ok(CertifiedKey::from_der(
        certificates,
        private,
        &ring::default_provider(),
    )?)
}
