//! The times between which certificates are valid.

use std::time::{Duration, SystemTime};

use rustls::{
    CertificateError, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

/// The end of the year 9999 in seconds since the Unix epoch, the latest time that a certificate can name.
const NEVER: Duration = Duration::from_secs(253_402_300_799);

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

/// Returns why clients reject a chain at `now`, if one of its certificates has expired or is not valid yet.
pub fn lapse(chain: &[CertificateDer<'_>], now: SystemTime) -> Option<Lapse> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(since);
    chain.iter().find_map(|certificate| lapse_of(certificate, now))
}

/// Returns when the first certificate of a chain expires. `None` for certificates that never expire.
pub fn expiry(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let never = UnixTime::since_unix_epoch(NEVER);
    let expiries = chain
        .iter()
        .filter_map(|certificate| match lapse_of(certificate, never) {
            Some(Lapse::Expired(expiry)) => Some(expiry),
            _ => None,
        });
    expiries.min()
}

/// Returns when the first certificate in PEM expires. `None` if there is none, or it is unreadable.
pub fn expiry_of_pem(pem: &[u8]) -> Option<SystemTime> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    expiry(&chain.ok()?)
}

/// Returns whether a certificate has expired or is not valid yet at `now`. This runs the checks of a client, which
/// begin with the times. The errors of the others are ignored, because they depend on whom the client trusts.
fn lapse_of(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Lapse> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_certificate_has_no_expiry() {
        for pem in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "x",
        ] {
            assert_eq!(expiry_of_pem(pem.as_bytes()), None, "{pem:?}");
        }
    }
}
