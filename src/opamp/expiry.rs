//! When certificates are valid. Only the operator's own, and those of authorities that it trusts, are read.

use rustls::pki_types::CertificateDer;
use std::ops::RangeInclusive;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// When the first of these certificates expires, in seconds since 1970; nothing if none can be read.
pub fn first_expiry<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Option<i64> {
    let expiry = |certificate| i64::try_from(*validity(certificate)?.end()).ok();
    certificates.into_iter().filter_map(expiry).min()
}

/// From when until when a certificate is valid, both included, in seconds since 1970; nothing if that cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<u64>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some(validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn first_of_several_certificates_to_expire_counts() {
        let certificate = |year| {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("a certificate").der().clone()
        };
        let chain = [certificate(2032), certificate(2031), certificate(2050)];
        assert_eq!(first_expiry(&chain), Some(1_924_992_000));
        assert_eq!(first_expiry(&chain[2..]), Some(2_524_608_000), "which is written in another way");
        assert_eq!(first_expiry(&[CertificateDer::from(vec![1, 2, 3])]), None);
    }
}
