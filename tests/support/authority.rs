//! Certificates in files, for TLS on either side.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use std::path::{Path, PathBuf};

/// An authority, with the files that it makes in a folder of its own.
pub struct Authority {
    dir: PathBuf,
    /// Its certificate, in PEM.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, whose certificate is in `ca.crt`.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Some clients insist on what the standard asks for.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(dir.join("ca.crt"), &pem).expect("written");
        Self { dir: dir.to_owned(), pem, issuer: Issuer::new(params, key) }
    }

    /// Writes a certificate for these names and addresses, the first of which is its subject, and its key; the paths
    /// of both.
    ///
    /// # Panics
    /// When a name is none.
    pub fn sign(&self, file: &str, names: &[&str]) -> (String, String) {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        self.issue(file, &names[0], CertificateParams::new(names.clone()).expect("names"))
    }

    /// The same, for a SPIFFE ID.
    ///
    /// # Panics
    /// When it is none.
    pub fn sign_spiffe(&self, file: &str, id: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
        self.issue(file, "agent", params)
    }

    fn issue(&self, file: &str, subject: &str, mut params: CertificateParams) -> (String, String) {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        self.write(file, &certificate, &key.serialize_pem())
    }

    /// Writes what is said to be a certificate and its key; the paths of both.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, file: &str, certificate: &str, key: &str) -> (String, String) {
        std::fs::write(self.path(&format!("{file}.crt")), certificate).expect("written");
        std::fs::write(self.path(&format!("{file}.key")), key).expect("written");
        (self.path(&format!("{file}.crt")), self.path(&format!("{file}.key")))
    }

    /// The path of a file in the folder.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).to_str().expect("UTF-8").to_owned()
    }
}
