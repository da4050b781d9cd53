//! Which certificates the commands that are clients trust.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject as _},
};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The certificates that a client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those that are signed by one of these, or are one of these.
    Roots(Vec<CertificateDer<'static>>),
    /// Any.
    Anything,
}

/// Why the certificates to trust cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    /// The file cannot be read or is not PEM.
    #[error("--ca: {path}: {source}")]
    File { path: PathBuf, source: pem::Error },
    /// The file has no certificate.
    #[error("--ca: {path}: expected a PEM file with at least one certificate")]
    Empty { path: PathBuf },
    /// A certificate cannot be trusted.
    #[cfg(feature = "client")]
    #[error("these certificates cannot be trusted: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Trust {
    /// Reads the certificates to trust from a PEM file.
    pub(super) fn of_file(path: &Path) -> Result<Self, TrustError> {
        let of = |source| TrustError::File {
            path: path.to_owned(),
            source,
        };
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .map_err(of)?
            .collect::<Result<_, _>>()
            .map_err(of)?;
        if certificates.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned() });
        }
        Ok(Self::Roots(certificates))
    }

    /// Returns the certificates that are trusted. The system's are those that can be read.
    fn roots(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::System => rustls_native_certs::load_native_certs().certs,
            Self::Roots(certificates) => certificates.clone(),
            Self::Anything => Vec::new(),
        }
    }

    /// Returns the settings of an HTTP client. Reads the system's certificates only if `is_needed`.
    pub(super) fn of_http(&self, is_needed: bool) -> TlsConfig {
        let roots = if is_needed { self.roots() } else { Vec::new() };
        let roots: Vec<_> = roots
            .iter()
            .map(|root| Certificate::from_der(root).to_owned())
            .collect();
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .disable_verification(*self == Self::Anything)
            .build()
    }
}

#[cfg(feature = "client")]
pub(super) use of_web_socket::client_config;

/// TLS of a WebSocket.
#[cfg(feature = "client")]
mod of_web_socket {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    use super::{Trust, TrustError};

    /// Returns the settings of a client that trusts these certificates.
    pub(in crate::cli) fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        if *trust == Trust::Anything {
            let verifier = Arc::new(AnyCertificate(provider));
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            return Ok(builder.with_no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        let (_added, ignored) = roots.add_parsable_certificates(trust.roots());
        if matches!(trust, Trust::Roots(_)) && ignored > 0 {
            return Err(rustls::Error::General("a certificate cannot be parsed".to_owned()).into());
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Accepts every certificate, but still checks that the server has its private key.
    #[derive(Debug)]
    struct AnyCertificate(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
