//! Certificate authorities: whose a certificate is that one of them has signed.

use super::subject::subject;
use crate::fleet::{Attributes, Principal};
use crate::opamp::expiry::first_expiry;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use webpki::EndEntityCert;

/// How the URI begins by which a workload is named (SPIFFE ID).
const SPIFFE: &str = "spiffe://";

/// Certificates by which those of agents are verified.
pub struct Authority {
    verifier: Arc<dyn ClientCertVerifier>,
    owner: Owner,
    expires: Option<i64>,
}

/// To which namespace the agents of an authority belong.
#[derive(Clone)]
pub enum Owner {
    /// All to this one, with these attributes.
    Namespace(String, Attributes),
    /// Each to the one that its SPIFFE ID names: `spiffe://DOMAIN/ns/NAMESPACE/…`.
    Spiffe,
}

/// Why certificates are no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It is no PEM, or has no certificate.
    #[error("no certificate can be read")]
    NoCertificate,
    /// One of them cannot be used.
    #[error("a certificate cannot be used: {0}")]
    Unusable(String),
}

impl Authority {
    /// The authority with these certificates in PEM, any of which may have signed an agent's. All have to be good.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn new(pem: &[u8], owner: Owner) -> Result<Self, AuthorityError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| AuthorityError::NoCertificate)?;
        if certificates.is_empty() {
            return Err(AuthorityError::NoCertificate);
        }
        let expires = first_expiry(&certificates);
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| AuthorityError::Unusable(error.to_string()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| AuthorityError::Unusable(error.to_string()))?;
        Ok(Self { verifier, owner, expires })
    }

    /// When the first of its certificates expires, in seconds since 1970, if that can be read.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// Who shows these certificates, if the first of them was signed by this authority and is valid now.
    pub fn principal(&self, chain: &[CertificateDer<'static>]) -> Option<Principal> {
        let (own, above) = chain.split_first()?;
        self.verifier.verify_client_cert(own, above, UnixTime::now()).ok()?;
        let certificate = EndEntityCert::try_from(own).ok()?;
        let workload = certificate.valid_uri_names().find(|uri| uri.starts_with(SPIFFE));
        match &self.owner {
            Owner::Namespace(namespace, verified) => {
                let named = workload.map_or_else(|| subject(certificate.subject()), str::to_owned);
                (!named.is_empty()).then(|| Principal::new(namespace, &named, verified.clone()))
            }
            Owner::Spiffe => {
                let workload = workload?;
                Some(Principal::new(namespace_of(workload)?, workload, Attributes::default()))
            }
        }
    }
}

/// The namespace in a SPIFFE ID.
fn namespace_of(workload: &str) -> Option<&str> {
    let mut parts = workload.strip_prefix(SPIFFE)?.split('/');
    let domain = parts.next()?;
    let namespace = (!domain.is_empty() && parts.next()? == "ns").then(|| parts.next())??;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=63).contains(&namespace.len()) && namespace.chars().all(inner);
    good.then_some(namespace)
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Namespace(namespace, _) => write!(f, "namespace {namespace}"),
            Self::Spiffe => write!(f, "SPIFFE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
        Issuer, KeyPair, SanType,
    };

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    /// An authority: its certificate in PEM, and what signs by it.
    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let pem = params.self_signed(&key).expect("a certificate").pem();
        (pem, Issuer::new(params, key))
    }

    fn params(uri: Option<&str>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, "agent-1");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names =
            uri.map(|uri| SanType::URI(uri.try_into().expect("ASCII"))).into_iter().collect();
        params
    }

    fn named(principal: Option<Principal>) -> Option<(String, String)> {
        principal.map(|principal| (principal.namespace.to_string(), principal.identity.to_string()))
    }

    /// Who holds such a certificate, signed by the authority that belongs to `owner`.
    fn holder(owner: Owner, params: &CertificateParams) -> Option<(String, String)> {
        let (pem, issuer) = authority();
        let signed = params.signed_by(&key(), &issuer).expect("a certificate");
        named(Authority::new(pem.as_bytes(), owner).expect("an authority").principal(&[signed.der().clone()]))
    }

    fn pair(namespace: &str, identity: &str) -> (String, String) {
        (namespace.to_owned(), identity.to_owned())
    }

    #[test]
    fn certificate_of_a_secrets_authority_belongs_to_the_secrets_namespace() {
        let owner = Owner::Namespace("edge".to_owned(), Attributes::default());
        let spiffe = "spiffe://example.org/ns/other/sa/agent";
        assert_eq!(holder(owner.clone(), &params(Some(spiffe))), Some(pair("edge", spiffe)));
        let subject = "CN=agent-1,O=Acme\\, Inc.";
        assert_eq!(holder(owner.clone(), &params(None)), Some(pair("edge", subject)));
        assert_eq!(holder(owner, &params(Some("https://example.org"))), Some(pair("edge", subject)));
    }

    #[test]
    fn certificate_of_a_files_authority_belongs_to_the_namespace_of_its_spiffe_id() {
        for (uri, expected) in [
            ("spiffe://example.org/ns/edge/sa/agent", Some("edge")),
            ("spiffe://example.org/ns/edge", Some("edge")),
            ("spiffe://example.org/sa/agent", None),
            ("spiffe:///ns/edge/sa/agent", None),
            ("spiffe://example.org/ns/", None),
            ("spiffe://example.org/ns/Edge", None),
            ("spiffe://example.org/ns/../x", None),
            ("https://example.org/ns/edge", None),
        ] {
            let expected = expected.map(|namespace| pair(namespace, uri));
            assert_eq!(holder(Owner::Spiffe, &params(Some(uri))), expected, "{uri}");
        }
        assert_eq!(holder(Owner::Spiffe, &params(None)), None);
    }

    #[test]
    fn certificate_that_another_authority_signed_or_that_is_not_for_clients_is_nobodys() {
        let owner = || Owner::Namespace("edge".to_owned(), Attributes::default());
        let mut server = params(None);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(holder(owner(), &server), None);
        let mut old = params(None);
        (old.not_before, old.not_after) =
            (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
        assert_eq!(holder(owner(), &old), None);
        let (pem, _) = authority();
        let (_, other) = authority();
        let signed = params(None).signed_by(&key(), &other).expect("a certificate");
        let authority = Authority::new(pem.as_bytes(), owner()).expect("an authority");
        assert_eq!(authority.principal(&[signed.der().clone()]), None);
        assert_eq!(authority.principal(&[]), None);
    }

    #[test]
    fn what_is_no_certificate_is_no_authority() {
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Authority::new(pem.as_bytes(), Owner::Spiffe).is_err(), "{pem:?}");
        }
    }
}
