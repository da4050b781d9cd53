//! TLS for a listener, with a certificate that can be replaced while connections stay open.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
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

/// Why clients reject a certificate that is usable otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lapse {
    /// It has expired.
    #[error("it expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// It is not valid yet.
    #[error("it is not valid before {}", humantime::format_rfc3339_seconds(*.0))]
    NotYetValid(SystemTime),
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
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        self.current()
            .cert
            .iter()
            .find_map(|certificate| lapse(certificate, now))
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

/// Returns whether a certificate has expired or is not valid yet at `now`. This runs the checks of a client, which
/// begin with the times. The errors of the others are ignored, because they depend on whom the client trusts.
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
