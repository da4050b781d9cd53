//! TLS for a listener, with a certificate that can be replaced while connections stay open.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::certificates::{self, Lapse};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        source: pem::Error,
    },
    /// The certificate or the key is not usable, or they do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The current certificate of a listener. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificate {
    current: Arc<ArcSwap<CertifiedKey>>,
}

impl Certificate {
    /// Creates a certificate from a chain and its private key.
    ///
    /// # Errors
    /// If one of them is not usable, or they do not belong together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(certified)),
        })
    }

    /// Replaces this certificate with `fresh`, for new connections.
    pub fn replace(&self, fresh: &Self) {
        let fresh = fresh.current();
        self.current.store(fresh);
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }

    /// Returns why clients reject the chain at `now`, if one of its certificates has expired or is not valid yet.
    pub fn lapse(&self, now: SystemTime) -> Option<Lapse> {
        certificates::lapse(&self.current().cert, now)
    }

    /// Returns when the first certificate of the chain expires.
    pub fn expiry(&self) -> Option<SystemTime> {
        certificates::expiry(&self.current().cert)
    }

    /// Returns the TLS configuration of a listener.
    ///
    /// # Errors
    /// If the provider supports none of the default protocol versions.
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
        Some(self.current())
    }
}

/// Reads all certificates of a PEM file.
///
/// # Errors
/// If the file is unreadable or contains no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(in_file(path))?;
    if certificates.is_empty() {
        return Err(in_file(path)(pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// Reads the first private key of a PEM file.
///
/// # Errors
/// If the file is unreadable or contains no private key.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(in_file(path))
}

fn in_file(path: &Path) -> impl FnOnce(pem::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}
