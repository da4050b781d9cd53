//! TLS of a listener: a certificate that can be replaced while connections go on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
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

/// Why clients do not take a certificate that is otherwise right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lapse {
    /// Its time has passed.
    #[error("it expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// Its time has not come.
    #[error("it is not valid before {}", humantime::format_rfc3339_seconds(*.0))]
    NotYetValid(SystemTime),
}

/// The certificate in force. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificate {
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Certificate {
    /// A certificate chain and its private key.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Self {
            current: Arc::new(RwLock::new(Arc::new(certified))),
        })
    }

    /// Puts `fresh` in force, for connections from now on.
    pub fn replace(&self, fresh: &Self) {
        let fresh = fresh.current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns why clients will not take the chain at this time, if a certificate of it has expired or is not valid yet.
    pub fn lapse(&self, now: SystemTime) -> Option<Lapse> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        self.current()
            .cert
            .iter()
            .find_map(|certificate| lapse(certificate, now))
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
        Some(self.current())
    }
}

/// Reads the certificates of a PEM file, of which there is at least one.
///
/// # Errors
/// When the file is unreadable, or has none.
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
/// When the file is unreadable, or has none.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(in_file(path))
}

fn in_file(path: &Path) -> impl FnOnce(pem::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}

/// Why a certificate is not valid at `now`. Of the checks of a client the times are the first; the others, which are left out,
/// need to know whom it trusts.
fn lapse(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Lapse> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let provider = ring::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let checked = verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], now, algorithms);
    let time = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    match checked {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(Lapse::Expired(time(not_after)))
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Some(Lapse::NotYetValid(time(not_before)))
        }
        _ => None,
    }
}
