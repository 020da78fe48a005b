//! Certificate authorities: whose a certificate is that one of them has signed.

use super::Refusal;
use super::subject::subject;
use crate::fleet::{Attributes, Principal};
use crate::opamp::expiry::{first_expiry, validity};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use std::ops::RangeInclusive;
use std::sync::Arc;
use webpki::EndEntityCert;

/// How the URI begins by which a workload is named (SPIFFE ID).
const SPIFFE: &str = "spiffe://";

/// Certificates by which those of agents are verified.
pub struct Authority {
    anchors: Vec<Anchor>,
    owner: Owner,
    expires: Option<i64>,
}

/// One of the certificates.
struct Anchor {
    verifier: Arc<dyn ClientCertVerifier>,
    /// From when until when it counts, in seconds since 1970. The verifier does not ask for that: by RFC 5280 a trust
    /// anchor is a name and a key. But what other servers take for expired must not go on letting agents in here.
    valid: RangeInclusive<u64>,
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
        let anchors = certificates.into_iter().map(Anchor::new).collect::<Result<_, _>>()?;
        Ok(Self { anchors, owner, expires })
    }

    /// When the first of its certificates expires, in seconds since 1970, if that can be read.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// Who shows these certificates, if the first of them was signed by this authority and both are valid at this time.
    ///
    /// # Errors
    /// [`Refusal::Expired`] if one of them is not valid at this time, else [`Refusal::Unknown`].
    pub fn principal(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<Principal, Refusal> {
        let (own, above) = chain.split_first().ok_or(Refusal::Unknown)?;
        first_good(self.anchors.iter().map(|anchor| anchor.verify(own, above, now)))?;
        self.holder(own).ok_or(Refusal::Unknown)
    }

    /// Who a certificate of this authority says that it is.
    fn holder(&self, own: &CertificateDer<'static>) -> Option<Principal> {
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

impl Anchor {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, AuthorityError> {
        let unusable = |why: &dyn std::fmt::Display| AuthorityError::Unusable(why.to_string());
        let valid = validity(&certificate).ok_or_else(|| unusable(&"its dates cannot be read"))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|error| unusable(&error))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        Ok(Self { verifier: verifier.map_err(|error| unusable(&error))?, valid })
    }

    fn verify(
        &self,
        own: &CertificateDer<'static>,
        above: &[CertificateDer<'static>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        match self.verifier.verify_client_cert(own, above, now) {
            Ok(_) if self.valid.contains(&now.as_secs()) => Ok(()),
            Ok(_) => Err(Refusal::Expired),
            Err(error) if is_of_dates(&error) => Err(Refusal::Expired),
            Err(_) => Err(Refusal::Unknown),
        }
    }
}

/// The first answer that is good, else why there is none: that something has expired tells more than all others.
pub fn first_good<T>(answers: impl IntoIterator<Item = Result<T, Refusal>>) -> Result<T, Refusal> {
    let mut refusal = Refusal::Unknown;
    for answer in answers {
        match answer {
            Ok(good) => return Ok(good),
            Err(Refusal::Expired) => refusal = Refusal::Expired,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn is_of_dates(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let Error::InvalidCertificate(why) = error else { return false };
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
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
        Issuer, KeyPair, SanType, date_time_ymd,
    };

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    /// An authority: its certificate in PEM, and what signs by it.
    fn authority() -> (String, Issuer<'static, KeyPair>) {
        authority_from(2020, 4000)
    }

    /// The same, that is valid between the beginnings of these years.
    fn authority_from(from: i32, until: i32) -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
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

    fn named(principal: Result<Principal, Refusal>) -> Result<(String, String), Refusal> {
        principal.map(|principal| (principal.namespace.to_string(), principal.identity.to_string()))
    }

    fn edge() -> Owner {
        Owner::Namespace("edge".to_owned(), Attributes::default())
    }

    /// Who holds such a certificate, signed by the authority that belongs to `owner`.
    fn holder(owner: Owner, params: &CertificateParams) -> Result<(String, String), Refusal> {
        let (pem, issuer) = authority();
        let signed = params.signed_by(&key(), &issuer).expect("a certificate");
        let authority = Authority::new(pem.as_bytes(), owner).expect("an authority");
        named(authority.principal(&[signed.der().clone()], UnixTime::now()))
    }

    fn pair(namespace: &str, identity: &str) -> (String, String) {
        (namespace.to_owned(), identity.to_owned())
    }

    #[test]
    fn certificate_of_a_secrets_authority_belongs_to_the_secrets_namespace() {
        let spiffe = "spiffe://example.org/ns/other/sa/agent";
        assert_eq!(holder(edge(), &params(Some(spiffe))), Ok(pair("edge", spiffe)));
        let subject = "CN=agent-1,O=Acme\\, Inc.";
        assert_eq!(holder(edge(), &params(None)), Ok(pair("edge", subject)));
        assert_eq!(holder(edge(), &params(Some("https://example.org"))), Ok(pair("edge", subject)));
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
            let expected = expected.map(|namespace| pair(namespace, uri)).ok_or(Refusal::Unknown);
            assert_eq!(holder(Owner::Spiffe, &params(Some(uri))), expected, "{uri}");
        }
        assert_eq!(holder(Owner::Spiffe, &params(None)), Err(Refusal::Unknown));
    }

    #[test]
    fn certificate_that_another_authority_signed_or_that_is_not_for_clients_is_nobodys() {
        let mut server = params(None);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(holder(edge(), &server), Err(Refusal::Unknown));
        let mut old = params(None);
        (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        assert_eq!(holder(edge(), &old), Err(Refusal::Expired));
        let (pem, _) = authority();
        let (_, other) = authority();
        let signed = params(None).signed_by(&key(), &other).expect("a certificate");
        let authority = Authority::new(pem.as_bytes(), edge()).expect("an authority");
        let now = UnixTime::now();
        assert_eq!(authority.principal(&[signed.der().clone()], now), Err(Refusal::Unknown));
        assert_eq!(authority.principal(&[], now), Err(Refusal::Unknown));
    }

    #[test]
    fn authority_vouches_for_nobody_outside_its_dates_and_the_next_one_beside_it_does() {
        // From the first second of 2020 to that of 2030, and from that of 2029 on.
        let (old, next) = (authority_from(2020, 2030), authority_from(2029, 2050));
        let both = Authority::new([old.0, next.0].concat().as_bytes(), edge()).expect("authorities");
        let signed = |issuer| [params(None).signed_by(&key(), issuer).expect("a certificate").der().clone()];
        let (by_old, by_next) = (signed(&old.1), signed(&next.1));
        for (seconds, first, second) in [
            (1_577_836_799, Err(Refusal::Expired), Err(Refusal::Expired)),
            (1_577_836_800, Ok("edge"), Err(Refusal::Expired)),
            (1_861_919_999, Ok("edge"), Err(Refusal::Expired)),
            (1_861_920_000, Ok("edge"), Ok("edge")),
            (1_893_456_000, Ok("edge"), Ok("edge")),
            (1_893_456_001, Err(Refusal::Expired), Ok("edge")),
        ] {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            let holder = |chain| both.principal(chain, now).map(|principal| principal.namespace);
            let found = (holder(&by_old), holder(&by_next));
            assert_eq!(found, (first.map(Into::into), second.map(Into::into)), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_no_authority() {
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Authority::new(pem.as_bytes(), Owner::Spiffe).is_err(), "{pem:?}");
        }
    }
}
